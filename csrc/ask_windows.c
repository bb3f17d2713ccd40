/* ask_windows.c - asking a root to end, which Windows knows no one way for. */
#include "job.h"

#include <errno.h>
#include <stdlib.h>

/* The event reaches only those that share our console, and what is not there to be reached is no error of the call. */
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

/* user32.dll makes a GUI process of whoever loads it, so it is loaded only when a root is asked to end. */
typedef void (*any)(void);
typedef BOOL(WINAPI *enumerate)(WNDENUMPROC each, LPARAM argument);
typedef DWORD(WINAPI *owner)(HWND window, DWORD *ret_pid);
typedef BOOL(WINAPI *post)(HWND window, UINT message, WPARAM wide, LPARAM argument);

struct closing {
    DWORD pid;
    owner owner_of;
    post post_to;
    int reached;
};

static BOOL CALLBACK close_if_its(HWND window, LPARAM argument)
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
    enumerate all = (enumerate)(any)GetProcAddress(user, "EnumWindows");
    closing.pid = pid;
    closing.owner_of = (owner)(any)GetProcAddress(user, "GetWindowThreadProcessId");
    closing.post_to = (post)(any)GetProcAddress(user, "PostMessageW");
    if (all && closing.owner_of && closing.post_to)
        all(close_if_its, (LPARAM)&closing);
    return closing.reached;
}

int tg_ask(DWORD pid)
{
    int reached = shares_our_console(pid) && GenerateConsoleCtrlEvent(CTRL_BREAK_EVENT, pid);
    /* Each is tried: a console program may show a window, and a program with windows may have a console. */
    return close_windows(pid) || reached ? 0 : -ENOTSUP;
}
