/* suspended.c - the engine on a Windows that knows no job list: roots are put into their jobs before they run.
 *
 * Built with TG_WITHOUT_JOB_LIST. Its argument is a program that stays. Exits 0, or with the line that failed. */
#include "treeguard.h"

#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <stdio.h>
#include <string.h>
#include <wchar.h>

enum { PATIENCE_MS = 60000 };

#define CHECK(condition)                                                \
    do {                                                                \
        if (!(condition)) {                                             \
            fprintf(stderr, "line %d: %s\n", __LINE__, #condition);     \
            return __LINE__;                                            \
        }                                                               \
    } while (0)

static int next(struct tg_engine *engine, struct tg_tree *tree, struct tg_event *ret)
{
    DWORD begun = GetTickCount();
    while (GetTickCount() - begun < PATIENCE_MS) {
        if (tg_engine_drain(engine, ret, 1) == 1 && ret->kind != TG_CLOSING)
            return ret->kind;
        if (tg_tree_polled(tree) && tg_tree_poll(tree, ret))
            return ret->kind;
        tg_engine_wait(engine, 5);
    }
    return 0;
}

int wmain(int argc, wchar_t **argv)
{
    static const wchar_t environment[] = L"\0";
    struct tg_spec spec;
    struct tg_fault fault = {0, 0};
    struct tg_event event;
    int32_t pids[4];

    CHECK(argc == 2);
    memset(&spec, 0, sizeof spec);
    spec.program = (const char *)argv[1];
    spec.args = (const char *)argv[1];
    spec.env = (const char *)environment;
    spec.stdio[0] = spec.stdio[1] = spec.stdio[2] = -1;

    struct tg_engine *engine = tg_engine_open(&fault);
    CHECK(engine);
    struct tg_tree *tree = tg_tree_spawn(engine, &spec, 7, &fault);
    CHECK(tree);
    CHECK(next(engine, tree, &event) == TG_STARTED && event.tag == 7 && event.pid == tg_tree_pid(tree));
    CHECK(tg_tree_members(tree, pids, 4) == 1 && pids[0] == event.pid);
    CHECK(tg_tree_has(tree, event.pid) && !tg_tree_has(tree, (int32_t)GetCurrentProcessId()));
    CHECK(tg_tree_kill(tree) == 0);
    CHECK(next(engine, tree, &event) == TG_EMPTY && event.code == 1);
    tg_tree_free(tree);

    /* Letting go of a tree ends it: the handle is the last one. */
    tree = tg_tree_spawn(engine, &spec, 8, &fault);
    CHECK(tree);
    HANDLE root = OpenProcess(SYNCHRONIZE, FALSE, (DWORD)tg_tree_pid(tree));
    CHECK(root && WaitForSingleObject(root, 0) == WAIT_TIMEOUT);
    tg_tree_free(tree);
    CHECK(WaitForSingleObject(root, PATIENCE_MS) == WAIT_OBJECT_0);
    CloseHandle(root);

    /* What cannot be started leaves nothing. */
    spec.program = (const char *)L"C:\\there\\is\\none.exe";
    CHECK(!tg_tree_spawn(engine, &spec, 9, &fault) && fault.step == TG_STEP_EXEC);
    tg_engine_close(engine);
    return 0;
}
