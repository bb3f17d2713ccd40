/* start.c - prepares a spec for the child: one block of memory that lives until the program runs. */
#include "tree.h"

#include "attributes.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *arena_append(char **room, const char *bytes, size_t size)
{
    char *to = *room;
    if (size)
        memcpy(to, bytes, size);
    *room += size;
    return to;
}

/* Fills an array with pointers to consecutive strings. */
static void fill_argv(char **array, char *strings, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        array[i] = strings;
        strings += strlen(strings) + 1;
    }
    array[n] = NULL;
}

/* Number of descriptors that a guard gets in addition to those of the root: lifeline, pidfds of supervisor and launcher,
 * manager's cgroup, lease. */
enum { OWN = 5 };

/* Merges the descriptors that stay open in ascending order. Those of the spec are sorted already; inserts our own (-1:
 * none). */
static uint32_t merge(int32_t *keep, const struct tg_spec *spec, const int32_t own[OWN])
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < spec->nfds; i++)
        keep[n++] = spec->fds[i];
    for (int i = 0; i < OWN; i++) {
        if (own[i] < 0)
            continue;
        uint32_t at = n++;
        for (; at > 0 && keep[at - 1] > own[i]; at--)
            keep[at] = keep[at - 1];
        keep[at] = own[i];
    }
    return n;
}

static uint32_t fd_ranges_to_close(struct tg_fd_range *close_ranges, const int32_t *keep, uint32_t n)
{
    uint32_t count = 0, first = 3;
    for (uint32_t i = 0; i < n; i++) {
        if ((uint32_t)keep[i] > first)
            close_ranges[count++] = (struct tg_fd_range){first, (uint32_t)keep[i] - 1};
        first = (uint32_t)keep[i] + 1;
    }
    close_ranges[count++] = (struct tg_fd_range){first, INT32_MAX};
    return count;
}

static struct tg_handover handover_to_guard(const struct tg_spec *spec, const struct tg_engine *engine, int lifeline)
{
    int follows = spec->attributes && spec->attributes->given & TG_GIVEN_LAUNCHER_PID;
    return (struct tg_handover){
        .leaf = spec->leaf,
        .lifeline = lifeline,
        .supervisor = engine->supervisor,
        .supervisor_pid = engine->owner,
        .launcher = follows ? spec->attributes->launcher : -1,
        .launcher_pid = follows ? spec->attributes->launcher_pid : 0,
        .cgroup = spec->cgroup,
        .leaf_made = spec->leaf_made,
        .lease = spec->lease,
        .lease_ms = spec->lease_ms,
        .options = spec->options,
    };
}

/* Room for the number of a tree, in digits. */
enum { TREE_DIGITS = 20 };

static size_t shown_room(const struct tg_spec *spec)
{
    return sizeof TG_SHOWN_TREE + TREE_DIGITS + sizeof " " + (spec->title ? strlen(spec->title) : 0);
}

/* Writes what the guard shows of itself. Returns where the next string goes. */
static char *write_shown(char *room, const struct tg_spec *spec)
{
    return room + 1 + sprintf(room, TG_SHOWN_TREE "%" PRIu64 " %s", spec->leaf, spec->title ? spec->title : "");
}

/* Our child is a guard: the root's options and attributes go to it in its arguments, before those of the root, and have
 * no effect on the guard itself. It has all signals blocked from its first instruction on. */
static char **prepare_guard(struct tg_start *s, const struct tg_spec *spec, const struct tg_handover *handover,
                            char *room, char *guard, char *program)
{
    char **argv = s->argv;
    *argv++ = room;
    room = write_shown(room, spec);
    tg_handover_write(room, handover, spec->attributes);
    *argv++ = room;
    *argv++ = program;
    s->launch.quick = 1;
    s->launch.child.program = guard;
    s->launch.child.options = (struct tg_options){.terminal = -1};
    s->launch.child.mask = TG_ALL_SIGNALS;
    return argv;
}

/* Our child is the root. It ends with us. */
static char **prepare_root(struct tg_start *s, const struct tg_spec *spec, int owner, char *room, char *program)
{
    s->launch.child.program = program;
    s->launch.child.options = spec->options;
    if (spec->attributes)
        s->launch.child.attributes = memcpy(room, spec->attributes, sizeof *spec->attributes);
    s->launch.child.parent = owner;
    return s->argv;
}

/* What becomes a child's standard stream. A pipe or a file that was opened while a standard stream was closed has got its
 * number, and is close-on-exec: another child's, perhaps, or the caller's own. */
static int32_t stream(const struct tg_spec *spec, int number, int null_fd)
{
    if (spec->stdio[number] != TG_INHERIT)
        return spec->stdio[number] < 0 ? null_fd : spec->stdio[number];
    int flags = fcntl(number, F_GETFD);
    return null_fd >= 0 && flags >= 0 && (flags & FD_CLOEXEC) ? null_fd : number;
}

/* Sets up which descriptors stay open, in the memory behind close_ranges. */
static void prepare_descriptors(struct tg_start *s, int32_t *keep, const struct tg_spec *spec, const int32_t own[OWN],
                                int null_fd)
{
    struct tg_child *child = &s->launch.child;
    child->pass = keep;
    child->npass = merge(keep, spec, own);
    child->close_ranges = s->close_ranges;
    child->nclose_ranges = fd_ranges_to_close(s->close_ranges, keep, child->npass);
    for (int i = 0; i < 3; i++)
        child->stdio[i] = stream(spec, i, null_fd);
}

struct tg_start *tg_start_new(const struct tg_spec *spec, const struct tg_engine *engine, int lifeline)
{
    int guarded = lifeline >= 0;
    size_t pointers = (size_t)spec->nargs + 4 + (size_t)spec->nenv + 1;
    size_t cwd_size = spec->cwd ? strlen(spec->cwd) + 1 : 0;
    size_t program_size = strlen(spec->program) + 1;
    size_t guard_size = guarded ? strlen(spec->guard) + 1 : 0;
    size_t keeps = (size_t)spec->nfds + OWN;
    size_t extra = guarded            ? shown_room(spec) + tg_handover_room(spec->attributes)
                   : spec->attributes ? sizeof *spec->attributes
                                      : 0;
    /* What comes next are pointers. */
    extra = (extra + _Alignof(max_align_t) - 1) & ~(_Alignof(max_align_t) - 1);
    size_t size = sizeof(struct tg_start) + extra + pointers * sizeof(char *) + (keeps + 1) * sizeof(struct tg_fd_range) +
                  keeps * sizeof(int32_t) + spec->args_size + spec->env_size + cwd_size + program_size + guard_size;
    struct tg_start *s = NULL;
    if (posix_memalign((void **)&s, _Alignof(struct tg_start), size))
        return NULL;
    memset(s, 0, offsetof(struct tg_start, launch.stack));
    char *first = (char *)(s + 1);
    s->argv = (char **)(first + extra);
    s->envp = s->argv + spec->nargs + 4;
    s->close_ranges = (struct tg_fd_range *)(s->envp + spec->nenv + 1);
    int32_t *keep = (int32_t *)(s->close_ranges + keeps + 1);
    char *room = (char *)(keep + keeps);
    char *args = arena_append(&room, spec->args, spec->args_size);
    char *env = arena_append(&room, spec->env, spec->env_size);
    char *program = arena_append(&room, spec->program, program_size);
    char *cwd = arena_append(&room, spec->cwd, cwd_size);
    char *guard = arena_append(&room, spec->guard, guard_size);

    const struct tg_handover handover = handover_to_guard(spec, engine, lifeline);
    const int32_t no_own[OWN] = {-1, -1, -1, -1, -1};
    const int32_t own[OWN] = {handover.lifeline, handover.supervisor, handover.launcher, handover.cgroup, handover.lease};
    struct tg_child *child = &s->launch.child;
    s->launch.status_fd = s->launch.pidfd = s->launch.cgroup = child->directory = child->joined = -1;
    child->argv = s->argv;
    child->envp = s->envp;
    child->cwd = spec->cwd ? cwd : NULL;
    child->address_space = spec->address_space;
    child->ignore = spec->ignore;
    fill_argv(guarded ? prepare_guard(s, spec, &handover, first, guard, program)
                      : prepare_root(s, spec, engine->owner, first, program),
              args, spec->nargs);
    fill_argv(s->envp, env, spec->nenv);
    prepare_descriptors(s, keep, spec, guarded ? own : no_own, engine->null_fd);
    return s;
}

void tg_start_free(struct tg_start **start)
{
    struct tg_start *freed = *start;
    /* First: another thread may fork meanwhile, and the copy must not free it again. */
    *start = NULL;
    if (freed && freed->launch.status_fd >= 0) {
        /* TG_METHOD_FORK: the child has its own copy. */
        tg_close(freed->launch.status_fd);
        free(freed);
    } else if (freed && tg_launch_done(&freed->launch, 0)) {
        /* A child that has not run its program yet still reads this memory. In that case do not free it: a leak is
         * better than a use after free. */
        free(freed);
    }
}
