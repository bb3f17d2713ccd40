/* start.c - prepares a spec for the child: one block of memory that lives until the program runs. */
#include "tree.h"

#include "wire.h"

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

/* Number of descriptors that a guard gets in addition to those of the root: lifeline, supervisor's pidfd, manager's
 * cgroup, lease. */
enum { OWN = 4 };

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

struct tg_start *tg_start_new(const struct tg_spec *spec, const struct tg_engine *engine, int lifeline)
{
    int guarded = lifeline >= 0;
    size_t pointers = (size_t)spec->nargs + 4 + (size_t)spec->nenv + 1;
    size_t cwd_size = spec->cwd ? strlen(spec->cwd) + 1 : 0;
    size_t program_size = strlen(spec->program) + 1;
    size_t guard_size = guarded ? strlen(spec->guard) + 1 : 0;
    size_t keeps = (size_t)spec->nfds + OWN;
    size_t size = sizeof(struct tg_start) + pointers * sizeof(char *) + (keeps + 1) * sizeof(struct tg_fd_range) +
                  keeps * sizeof(int32_t) + spec->args_size + spec->env_size + cwd_size + program_size + guard_size;
    struct tg_start *s = NULL;
    if (posix_memalign((void **)&s, _Alignof(struct tg_start), size))
        return NULL;
    memset(s, 0, offsetof(struct tg_start, launch.stack));
    s->argv = (char **)(s + 1);
    s->envp = s->argv + spec->nargs + 4;
    s->close_ranges = (struct tg_fd_range *)(s->envp + spec->nenv + 1);
    int32_t *keep = (int32_t *)(s->close_ranges + keeps + 1);
    char *room = (char *)(keep + keeps);
    char *args = arena_append(&room, spec->args, spec->args_size);
    char *env = arena_append(&room, spec->env, spec->env_size);
    char *program = arena_append(&room, spec->program, program_size);
    char *cwd = arena_append(&room, spec->cwd, cwd_size);
    char *guard = arena_append(&room, spec->guard, guard_size);

    s->launch.status_fd = s->launch.pidfd = s->launch.cgroup = -1;
    s->launch.quick = guarded;
    struct tg_child *child = &s->launch.child;
    char **argv = s->argv;
    if (guarded) {
        snprintf(s->options, sizeof s->options, "%d,%d,%d,%d,%d,%d,%u,%llu,%d,%d,%d", lifeline, engine->supervisor,
                 engine->owner, spec->terminal, spec->cgroup, spec->lease, spec->lease_ms,
                 (unsigned long long)spec->leaf, spec->leaf_made, spec->new_session != 0,
                 spec->isolated != 0);
        memcpy(s->name, TG_GUARD_NAME, sizeof TG_GUARD_NAME);
        *argv++ = s->name;
        *argv++ = s->options;
        *argv++ = program;
    }
    fill_argv(argv, args, spec->nargs);
    fill_argv(s->envp, env, spec->nenv);
    child->cwd = spec->cwd ? cwd : NULL;
    child->program = guarded ? guard : program;
    child->argv = s->argv;
    child->envp = s->envp;
    const int32_t own[OWN] = {lifeline, guarded ? engine->supervisor : -1, guarded ? spec->cgroup : -1,
                                guarded ? spec->lease : -1};
    uint32_t kept = merge(keep, spec, own);
    child->pass = keep;
    child->npass = kept;
    child->close_ranges = s->close_ranges;
    child->nclose_ranges = fd_ranges_to_close(s->close_ranges, keep, kept);
    for (int i = 0; i < 3; i++)
        child->stdio[i] = spec->stdio[i] < 0 ? engine->null_fd : spec->stdio[i];
    child->terminal = guarded ? -1 : spec->terminal;
    child->new_session = guarded ? 0 : spec->new_session;
    child->parent = guarded ? 0 : engine->owner;
    child->address_space = spec->address_space;
    child->ignore = spec->ignore;
    child->mask = guarded ? TG_ALL_SIGNALS : 0;
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
