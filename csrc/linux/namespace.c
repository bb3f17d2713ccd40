/* linux/namespace.c - starts a root in new user, mount and PID namespaces.
 *
 * The helper runs in the guard's memory and on its descriptors, so it costs no copy and leaves its results there. A
 * process that enters a PID namespace stays outside itself: the first process that it forks is the init, and the next one
 * the root. Both are born as its siblings (CLONE_PARENT), so they are the guard's children. The init could not start the
 * root in this way: the kernel does not let an init make siblings.
 *
 * The init is a copy of the guard without an exec. Its memory belongs to the user namespace of the guard, and is
 * undumpable: a process inside may have all capabilities of the namespace, and yet cannot trace it (ptrace_may_access in
 * kernel/ptrace.c). An init hears only signals for which it has a handler, and SIGKILL and SIGSTOP only from outside. */
#include "../namespace.h"

#include "../attributes.h"
#include "../erase.h"
#include "../text.h"
#include "../wire.h"
#include "cgroup_below.h"

#include <linux/sched.h>

/* WAIT_MS: how often the guard looks after its helper. PATIENCE: after so many looks it gives the helper up, which
 * usually takes less than a millisecond. */
enum { WAIT_MS = 10, PATIENCE = 1000 };

enum { NAMESPACES = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID };

_Static_assert(sizeof TG_INIT_NAME <= sizeof TG_GUARD_NAME, "the name has no more room");

/* Of the one helper that a guard has, in its memory. */
static struct {
    struct tg_launch helper;
    struct tg_launch *root;
    struct tg_namespace *result;
    struct tg_attributes *attributes;
    char **argv;
    size_t size;
    int guard;          /* process id */
    int guard_fd;       /* its handle */
} entering;

_Noreturn TG_RAW static void give_up(int step, long err)
{
    entering.result->fault = (struct tg_fault){step, (int32_t)-err};
    tg_exit(1);
}

/* Takes groups, group and user, which needs the privileges of the guard. The kernel clears the parent-death signal. */
TG_RAW static void change_user(void)
{
    enum { PRIVILEGED = TG_GIVEN_GROUPS | TG_GIVEN_GROUP | TG_GIVEN_USER };
    struct tg_attributes *a = entering.attributes;
    if (!a || !(a->given & PRIVILEGED))
        return;
    uint32_t given = a->given;
    int step = TG_STEP_USER;
    a->given &= PRIVILEGED;
    long ret = tg_set_attributes(a, &step);
    a->given = given & ~(uint32_t)PRIVILEGED;
    if (ret < 0)
        give_up(step, ret);
}

/* One to one: the user has the same number inside, and everybody else none. Without "deny" a process could drop groups
 * that take permissions from it, so the kernel insists (user_namespaces(7)). */
TG_RAW static long map(const char *path, uint32_t id)
{
    char text[48];
    tg_put(tg_put_number(tg_put(tg_put_number(text, id), " "), id), " 1");
    return tg_cgroup_write(AT_FDCWD, path, text);
}

/* The files belong to root while the memory is undumpable, as a guard's is. No process of the tree exists yet. */
TG_RAW static long map_ids(uint32_t user, uint32_t group)
{
    tg_sys5(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    long ret = map("/proc/self/uid_map", user);
    if (ret == 0)
        ret = tg_cgroup_write(AT_FDCWD, "/proc/self/setgroups", "deny");
    if (ret == 0)
        ret = map("/proc/self/gid_map", group);
    tg_shut_off();
    return ret;
}

TG_RAW static int guard_has_ended(void)
{
    struct pollfd guard = {entering.guard_fd, POLLIN, 0};
    return tg_poll(&guard, 1, 0) != 0;
}

/* Reaps what falls to it, and ends when no other process is left in the namespace: kill(2) finds none. The guard sends
 * SIGCHLD when it has reaped a process itself, and now and then, since processes may have other parents outside. */
_Noreturn TG_RAW static void reap(void)
{
    tg_sigset deaths = TG_SIGNAL_BIT(SIGCHLD);
    for (;;) {
        tg_sys4(SYS_rt_sigtimedwait, &deaths, NULL, NULL, sizeof deaths);
        long pid;
        do
            pid = tg_wait(-1, NULL, WNOHANG | TG_WAIT_ANY, NULL);
        while (pid > 0 || pid == -EINTR);
        if (pid == -ECHILD && tg_kill(-1, 0) == -ESRCH)
            tg_exit(0);
    }
}

/* Order matters. The signal is armed before the guard is looked at, so an end of the guard at any time ends the init, and
 * with it all others. It cannot be told by the parent's process id, which is 0 in here. */
_Noreturn TG_RAW static void run_init(void)
{
    tg_sys5(SYS_prctl, PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (guard_has_ended())
        tg_exit(1);
    tg_close_fd_range((struct tg_fd_range){0, INT32_MAX}, -1);
    tg_sys5(SYS_prctl, PR_SET_NAME, TG_INIT_NAME, 0, 0, 0);
    /* Its copy of what the guard shows until the root has started. */
    tg_erase(entering.argv[0], (size_t)(entering.argv[1] - entering.argv[0]) + entering.size);
    tg_put(entering.argv[0], TG_INIT_NAME);
    tg_chdir("/");
    reap();
}

/* The root joins the cgroup of another user by a descriptor that this one has opened. */
TG_RAW static void open_cgroup(void)
{
    struct tg_launch *root = entering.root;
    if (root->cgroup < 0 || !entering.attributes || !(entering.attributes->given & (TG_GIVEN_USER | TG_GIVEN_GROUP)))
        return;
    long ret = tg_cgroup_open(root->cgroup, "cgroup.procs", O_WRONLY);
    if (ret < 0)
        give_up(TG_STEP_CGROUP, ret);
    root->child.joined = (int)ret;
    root->cgroup = -1;
}

_Noreturn TG_RAW static void enter(struct tg_child *unused)
{
    (void)unused;
    long ret = tg_die_with_parent(entering.guard);
    if (ret < 0)
        give_up(TG_STEP_PARENT, ret);
    if ((ret = tg_pidfd_open(entering.guard)) < 0)
        give_up(TG_STEP_PID_NAMESPACE, ret);
    entering.guard_fd = (int)ret;
    open_cgroup();
    change_user();
    uint32_t user = tg_geteuid(), group = (uint32_t)tg_sys0(TG_SYS_IDS(getegid));
    if ((ret = tg_sys1(SYS_unshare, NAMESPACES)) < 0)
        give_up(TG_STEP_PID_NAMESPACE, ret);
    if ((ret = map_ids(user, group)) < 0)
        give_up(TG_STEP_USER_MAP, ret);
    if ((ret = tg_die_with_parent(entering.guard)) < 0)
        give_up(TG_STEP_PARENT, ret);
    ret = tg_fork_sibling();
    if (ret == 0)
        run_init();
    if (ret < 0)
        give_up(TG_STEP_PID_NAMESPACE, ret);
    entering.result->init = (int32_t)ret;
    entering.root->sibling = 1;
    if ((ret = tg_launch(entering.root, 0)) < 0)
        give_up(TG_STEP_CLONE, ret);
    entering.result->fault = (struct tg_fault){TG_STEP_NONE, 0};
    tg_exit(0);
}

/* Any process of the same user may stop the helper or the init meanwhile, so continue them. */
static void wait_for_helper(int pid)
{
    for (int looks = 0; !tg_launch_done(&entering.helper, WAIT_MS); looks++) {
        tg_kill(pid, looks < PATIENCE ? SIGCONT : SIGKILL);
        if (entering.result->init)
            tg_kill(entering.result->init, SIGCONT);
    }
    while (tg_wait(pid, NULL, TG_WAIT_ANY, NULL) == -EINTR)
        ;
}

int tg_launch_inside(struct tg_launch *launch, struct tg_namespace *ret_namespace, struct tg_attributes *attributes,
                     char **argv, size_t size)
{
    *ret_namespace = (struct tg_namespace){0, {TG_STEP_PID_NAMESPACE, ECANCELED}};
    entering.root = launch;
    entering.result = ret_namespace;
    entering.attributes = attributes;
    entering.argv = argv;
    entering.size = size;
    entering.guard = (int)tg_getpid();
    entering.guard_fd = -1;
    long ret = tg_launch_helper(&entering.helper, enter);
    if (ret < 0)
        ret_namespace->fault = (struct tg_fault){TG_STEP_CLONE, (int32_t)-ret};
    else
        wait_for_helper((int)ret);
    tg_close(entering.guard_fd);
    return -ret_namespace->fault.err;
}
