/* attempt.c - the library's side of a guard's trial (trial.c). */
#include "launch.h"
#include "wire.h"

int tg_guard_trial(const char *guard, struct tg_fault *reterr_fault)
{
    char name[] = TG_GUARD_NAME, trial[] = TG_GUARD_TRIAL;
    char *const argv[] = {name, trial, NULL};
    char *const envp[] = {NULL};
    static const struct tg_gap gap = {3, INT32_MAX};
    struct tg_launch launch = {
        .child = {.program = guard, .argv = argv, .envp = envp, .gaps = &gap, .ngaps = 1, .stdio = {0, 1, 2},
                  .terminal = -1, .cgroup = -1, .mask = TG_ALL_SIGNALS},
        .cgroup = -1,
    };
    tg_sigset mask;
    int status = 0;
    tg_sigmask(TG_ALL_SIGNALS, &mask);
    int ret = tg_launch(&launch, 0);
    tg_sigmask(mask, NULL);
    if (ret < 0) {
        *reterr_fault = (struct tg_fault){TG_STEP_CLONE, -ret};
        return -1;
    }
    while (!tg_launch_done(&launch, 100))
        ;
    struct tg_fault fault = launch.child.fault;
    long waited;
    while ((waited = tg_wait(launch.pid, &status, __WALL, NULL)) == -EINTR)
        ;
    if (fault.step == TG_STEP_NONE && waited > 0 && status != 0)
        fault = (struct tg_fault){TG_STEP_SUBREAPER, WIFEXITED(status) ? WEXITSTATUS(status) : EINTR};
    else if (fault.step == TG_STEP_EXEC)
        fault.step = TG_STEP_GUARD;
    *reterr_fault = fault;
    return fault.step ? -1 : 0;
}
