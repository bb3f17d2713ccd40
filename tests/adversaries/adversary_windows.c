/* adversary_windows.c - a tree that does not want to be ended: KIND REPORT [DEPTH].
 *
 * REPORT is the pipe that each member writes a letter to and keeps open: a descriptor (fdN) for the root, which it has from
 * its C runtime, a handle (N) for the others. Everybody leaves after a minute by himself. */
#define WIN32_LEAN_AND_MEAN
#include <windows.h>

#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LIFE_MS = 60000, WIDTH = 40, DEPTH = 10, FLED = 7, HEADS = 2000, TRIES = 10, PAUSE_MS = 200 };

static HANDLE report;
static char self[MAX_PATH];

static void say(char letter)
{
    DWORD written;
    WriteFile(report, &letter, 1, &written, NULL);
}

static HANDLE try_to_start(const char *kind, int depth, DWORD flags)
{
    char line[MAX_PATH + 64];
    STARTUPINFOA info = {0};
    PROCESS_INFORMATION made;
    info.cb = sizeof info;
    snprintf(line, sizeof line, "\"%s\" %s %llu %d", self, kind, (unsigned long long)(ULONG_PTR)report, depth);
    if (!CreateProcessA(self, line, NULL, NULL, TRUE, flags, NULL, NULL, &info, &made))
        return NULL;
    CloseHandle(made.hThread);
    return made.hProcess;
}

/* A busy host may be short of something for a moment. */
static HANDLE start(const char *kind, int depth, DWORD flags)
{
    for (int tries = 0; tries < TRIES; tries++) {
        HANDLE child = try_to_start(kind, depth, flags);
        if (child)
            return child;
        Sleep(PAUSE_MS);
    }
    say('!');
    return NULL;
}

static int stay(void)
{
    say('M');
    Sleep(LIFE_MS);
    return 0;
}

/* Starts somebody outside of the job, which must be refused, and then inside. */
static int breakaway(void)
{
    HANDLE child = try_to_start("alone", 0, CREATE_BREAKAWAY_FROM_JOB);
    if (child) {
        say('B');
    } else {
        say(GetLastError() == ERROR_ACCESS_DENIED ? 'R' : '?');
        start("alone", 0, 0);
    }
    Sleep(LIFE_MS);
    return 0;
}

/* Makes a job that allows everything, and puts a child into it. */
static int nested(void)
{
    JOBOBJECT_EXTENDED_LIMIT_INFORMATION limits = {0};
    HANDLE job = CreateJobObjectA(NULL, NULL), child;
    limits.BasicLimitInformation.LimitFlags = JOB_OBJECT_LIMIT_BREAKAWAY_OK | JOB_OBJECT_LIMIT_SILENT_BREAKAWAY_OK;
    SetInformationJobObject(job, JobObjectExtendedLimitInformation, &limits, sizeof limits);
    child = start("alone", 0, 0);
    if (!child || !AssignProcessToJobObject(job, child))
        return 1;
    return stay();
}

int main(int argc, char **argv)
{
    const char *kind = argc > 1 ? argv[1] : "alone";
    int depth = argc > 3 ? atoi(argv[3]) : DEPTH;
    GetModuleFileNameA(NULL, self, sizeof self);
    if (argc > 2 && strncmp(argv[2], "fd", 2) == 0)
        report = (HANDLE)_get_osfhandle(atoi(argv[2] + 2));
    else if (argc > 2)
        report = (HANDLE)(ULONG_PTR)_strtoui64(argv[2], NULL, 10);
    if (strcmp(kind, "family") == 0)
        start("deep", 1, 0);
    else if (strcmp(kind, "wide") == 0)
        for (int i = 0; i < WIDTH; i++)
            start("alone", 0, 0);
    else if (strcmp(kind, "deep") == 0 && depth > 0)
        start("deep", depth - 1, 0);
    else if (strcmp(kind, "detached") == 0)
        start("leaver", 0, DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
    else if (strcmp(kind, "console") == 0)
        start("alone", 0, CREATE_NEW_CONSOLE);
    else if (strcmp(kind, "leaver") == 0 || strcmp(kind, "fled") == 0) {
        start("alone", 0, DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP);
        say('M');
        return FLED;
    } else if (strcmp(kind, "breakaway") == 0)
        return breakaway();
    else if (strcmp(kind, "nested") == 0)
        return nested();
    else if (strcmp(kind, "hydra") == 0) {
        /* Each head starts the next one and leaves: there is always somebody new. */
        start("head", 0, 0);
    } else if (strcmp(kind, "head") == 0) {
        if (depth == 0)
            say('M');
        Sleep(5);
        if (depth < HEADS)
            start("head", depth + 1, DETACHED_PROCESS);
        return 0;
    }
    return stay();
}
