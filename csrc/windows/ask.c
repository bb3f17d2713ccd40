/* windows/ask.c - asks a root to end. Windows has no single way to do that. */
#include "job.h"

#include <errno.h>
#include <stdlib.h>

/* CTRL_BREAK reaches only processes that share our console. The call does not fail if no process gets it. */
static int shares_our_console(DWORD pid)
{
    DWORD few[64], *list = few, room = 64, n = GetConsoleProcessList(list, room);
    while (n > room) {
        if (list != few)
            free(list);
        room = n + 16;
        list = calloc(room, sizeof *list);
        if (!list)
            return 0;
        n = GetConsoleProcessList(list, room);
    }
    int found = 0;
    for (DWORD i = 0; i < n; i++)
        found |= list[i] == pid;
    if (list != few)
        free(list);
    return found;
}

/* Loading user32.dll turns a process into a GUI process, so load it only when a root has to end. */
typedef void (*any_function)(void);
typedef BOOL(WINAPI *enum_windows)(WNDENUMPROC each, LPARAM argument);
typedef DWORD(WINAPI *window_owner)(HWND window, DWORD *ret_pid);
typedef BOOL(WINAPI *post_message)(HWND window, UINT message, WPARAM wide, LPARAM argument);

struct closing {
    DWORD pid;
    window_owner owner_of;
    post_message post_to;
    int reached;
};

static BOOL CALLBACK close_if_owned(HWND window, LPARAM argument)
{
    struct closing *closing = (struct closing *)argument;
    DWORD pid = 0;
    closing->owner_of(window, &pid);
    if (pid == closing->pid && closing->post_to(window, WM_CLOSE, 0, 0))
        closing->reached = 1;
    return TRUE;
}

static int close_windows(DWORD pid)
{
    struct closing closing = {0};
    HMODULE user = LoadLibraryExW(L"user32.dll", NULL, LOAD_LIBRARY_SEARCH_SYSTEM32);
    if (!user)
        return 0;
    enum_windows all = (enum_windows)(any_function)GetProcAddress(user, "EnumWindows");
    closing.pid = pid;
    closing.owner_of = (window_owner)(any_function)GetProcAddress(user, "GetWindowThreadProcessId");
    closing.post_to = (post_message)(any_function)GetProcAddress(user, "PostMessageW");
    if (all && closing.owner_of && closing.post_to)
        all(close_if_owned, (LPARAM)&closing);
    return closing.reached;
}

int tg_ask(DWORD pid)
{
    int reached = shares_our_console(pid) && GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, pid);
    /* Try both: a console program may have a window, and a program with windows may have a console. */
    return close_windows(pid) || reached ? 0 : -ENOTSUP;
}
