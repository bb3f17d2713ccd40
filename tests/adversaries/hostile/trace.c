/* trace.c - tracing a guard, and writing into its memory. */
#define _GNU_SOURCE
#include "hostile.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

/* One that is traced stands still from here on, until the tracer lets it go or ends; its end is told to the tracer
 * before its parent. */
void seize(void)
{
    told_ret("seize", ptrace(PTRACE_SEIZE, victim, NULL, NULL));
    told_ret("interrupt", ptrace(PTRACE_INTERRUPT, victim, NULL, NULL));
}

/* Unlike one that was seized it stays stopped when its tracer has ended. */
static void let_go_on(void)
{
    kill(victim, SIGCONT);
}

void attach(void)
{
    undo = let_go_on;
    told_ret("attach", ptrace(PTRACE_ATTACH, victim, NULL, NULL));
}

typedef int write_fn(unsigned long at, size_t size);

/* Everything that it may write to, its stack included. 0, or an errno; -1: there is nothing. */
static int each_writable(write_fn *write_all)
{
    char path[64], line[512];
    int err = -1;
    snprintf(path, sizeof path, "/proc/%d/maps", victim);
    FILE *maps = fopen(path, "re");
    if (!maps)
        return errno;
    while (fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char access[8];
        if (sscanf(line, "%lx-%lx %7s", &from, &to, access) == 3 && access[1] == 'w' && err <= 0)
            err = write_all(from, to - from);
    }
    if (ferror(maps))
        err = errno;
    fclose(maps);
    return err;
}

static const char garbage[4096] = "\377\377\377\377";

static int write_by_call(unsigned long at, size_t size)
{
    for (size_t done = 0; done < size; done += sizeof garbage) {
        struct iovec ours = {(void *)(size_t)garbage, sizeof garbage}, theirs = {(void *)(at + done), sizeof garbage};
        if (process_vm_writev(victim, &ours, 1, &theirs, 1, 0) < 0)
            return errno;
    }
    return 0;
}

void overwrite(void)
{
    /* Without its map an address that no one could write to shows whether it is allowed at all. */
    int err = each_writable(write_by_call);
    told("maps", err);
    if (err > 0)
        told("process_vm_writev", write_by_call(4096, sizeof garbage));
    else
        told("process_vm_writev", err);
}

static int memory_file = -1;

static int write_to_file(unsigned long at, size_t size)
{
    for (size_t done = 0; done < size; done += sizeof garbage)
        if (pwrite(memory_file, garbage, sizeof garbage, (off_t)(at + done)) < 0)
            return errno;
    return 0;
}

void overwrite_file(void)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/mem", victim);
    memory_file = open(path, O_RDWR | O_CLOEXEC);
    told_ret("open", memory_file);
    if (memory_file < 0)
        return;
    told("write", each_writable(write_to_file));
    close(memory_file);
}
