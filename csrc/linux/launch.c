/* linux/launch.c - the parent half of a start on Linux. Library and guard share it, so it uses system calls only.
 *
 * The child shares the parent's memory (CLONE_VM), as with vfork, so the cost does not depend on the size of that
 * memory. Unlike with vfork, the parent continues at once, so a program on a slow file system blocks nothing. The
 * kernel clears `running` and wakes its futex when the child releases the memory, by exec or by its end
 * (CLONE_CHILD_CLEARTID; mm_release in kernel/fork.c). This needs no descriptor, which a concurrent fork could copy and
 * hold open. */
#include "../attributes.h"
#include "../launch.h"

#include <linux/futex.h>
#include <linux/sched.h>

#ifndef CLONE_PIDFD
#define CLONE_PIDFD 0x00001000
#endif

#ifndef CLONE_INTO_CGROUP
#define CLONE_INTO_CGROUP 0x200000000ULL
#endif

#ifndef TG_FIRST_METHOD
#define TG_FIRST_METHOD TG_METHOD_CLONE3
#endif

/* Kept for the whole process. Threads that determine it at the same time write the same value. */
static int first_method = TG_RAW_SYSCALLS ? TG_FIRST_METHOD : TG_METHOD_FORK;

void tg_launch_method(enum tg_method method)
{
    __atomic_store_n(&first_method, (int)method, __ATOMIC_RELAXED);
}

int tg_pidfd_open(int pid)
{
    return (int)tg_sys2(SYS_pidfd_open, pid, 0);
}

/* The signal at the child's end is the one at ours (clone(2), CLONE_PARENT). */
TG_RAW long tg_fork_sibling(void)
{
    return tg_sys5(SYS_clone, CLONE_PARENT | SIGCHLD, 0, 0, 0, 0);
}

/* Results of a filter or an old kernel for a call that it does not support. Any other error is a real failure. */
static int is_unsupported(long ret)
{
    return ret == -ENOSYS || ret == -EPERM || ret == -EINVAL || ret == -E2BIG;
}

/* Tried before all others if a cgroup is given: TG_METHOD_CLONE3 with CLONE_INTO_CGROUP. */
enum { BORN_INSIDE = TG_METHOD_CLONE3 - 1 };

#if TG_RAW_SYSCALLS

struct clone3_args {    /* struct clone_args */
    uint64_t flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls;  /* 5.3 */
    uint64_t set_tid, set_tid_size; /* 5.5 */
    uint64_t cgroup;                /* 5.7 */
};

/* Makes the system call and, in the child, calls `run`.
 *
 * This needs assembly because the child returns from the system call on a new, empty stack: it must not use the
 * parent's stack frame, so it can neither return from this function nor read local variables. The function and its
 * argument are in registers that the system call preserves. The child clears the frame pointer to mark the outermost
 * frame, calls the function and never returns; the trap after the call would catch a return. */
#if defined(__x86_64__)
TG_RAW static long clone_call(long n, long a, long b, long c, long d, void (*run)(struct tg_child *),
                              struct tg_child *child)
{
    long ret;
    register long r10 __asm__("r10") = d;
    register long r8 __asm__("r8") = 0;
    register void (*fn)(struct tg_child *) __asm__("r12") = run;
    register struct tg_child *arg __asm__("r13") = child;
    __asm__ volatile("syscall\n\t"
                     "testq %%rax, %%rax\n\t"
                     "jnz 1f\n\t"
                     "xorl %%ebp, %%ebp\n\t"
                     "movq %[arg], %%rdi\n\t"
                     "call *%[fn]\n\t"
                     "ud2\n"
                     "1:"
                     : "=a"(ret)
                     : "a"(n), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), [fn] "r"(fn), [arg] "r"(arg)
                     : "rcx", "r11", "memory", "cc");
    return ret;
}
#define CLONE_CALL(flags, stack, pidfd, tid, run, child) \
    clone_call(SYS_clone, (long)(flags), (long)(stack), (long)(pidfd), (long)(tid), run, child)
#elif defined(__aarch64__)
TG_RAW static long clone_call(long n, long a, long b, long c, long d, long e, void (*run)(struct tg_child *),
                              struct tg_child *child)
{
    register long x8 __asm__("x8") = n;
    register long x0 __asm__("x0") = a;
    register long x1 __asm__("x1") = b;
    register long x2 __asm__("x2") = c;
    register long x3 __asm__("x3") = d;
    register long x4 __asm__("x4") = e;
    register void (*fn)(struct tg_child *) __asm__("x9") = run;
    register struct tg_child *arg __asm__("x10") = child;
    __asm__ volatile("svc 0\n\t"
                     "cbnz x0, 1f\n\t"
                     "mov x29, xzr\n\t"
                     "mov x0, %[arg]\n\t"
                     "blr %[fn]\n\t"
                     "brk #1\n"
                     "1:"
                     : "+r"(x0)
                     : "r"(x8), "r"(x1), "r"(x2), "r"(x3), "r"(x4), [fn] "r"(fn), [arg] "r"(arg)
                     : "memory", "cc", "x30");
    return x0;
}
#define CLONE_CALL(flags, stack, pidfd, tid, run, child) \
    clone_call(SYS_clone, (long)(flags), (long)(stack), (long)(pidfd), 0, (long)(tid), run, child)
#endif

static long by_clone3(struct tg_launch *l, uint64_t flags)
{
    int into = l->child.cgroup < 0 && l->cgroup >= 0;
    size_t size = into ? sizeof(struct clone3_args) : offsetof(struct clone3_args, set_tid);
    struct clone3_args args = {
        .flags = flags | (into ? CLONE_INTO_CGROUP : 0),
        .pidfd = (uint64_t)(uintptr_t)&l->pidfd,
        .child_tid = (uint64_t)(uintptr_t)&l->running,
        .exit_signal = l->sibling ? 0 : SIGCHLD, /* as ours, which clone3 does not let us repeat */
        .stack = (uint64_t)(uintptr_t)l->stack,
        .stack_size = sizeof l->stack,
        .cgroup = into ? (uint64_t)l->cgroup : 0,
    };
#if defined(__x86_64__)
    return clone_call(SYS_clone3, (long)&args, (long)size, 0, 0, tg_child_run, &l->child);
#else
    return clone_call(SYS_clone3, (long)&args, (long)size, 0, 0, 0, tg_child_run, &l->child);
#endif
}

/* clone has no separate field for the pidfd: it uses the field of the parent's tid (5.2). */
static long by_clone(struct tg_launch *l, uint64_t flags)
{
    return CLONE_CALL(flags | SIGCHLD, l->stack + sizeof l->stack, &l->pidfd, &l->running, tg_child_run, &l->child);
}

/* Order matters: `running` is set before the call, because the child may release the memory, and the kernel clear the
 * word, before the call returns here. After a failed call no kernel will clear it. */
static long clone_with_shared_memory(struct tg_launch *l, int method, uint64_t flags)
{
    long ret = TG_FAULT(method <= TG_METHOD_CLONE3 ? SYS_clone3 : SYS_clone);
    l->running = l->share_table ? 2 : 1;
    l->child.status_fd = -1;
    l->child.table = l->share_table ? &l->running : NULL;
    if (!ret)
        ret = method <= TG_METHOD_CLONE3 ? by_clone3(l, flags) : by_clone(l, flags);
    if (ret < 0)
        l->running = 0;
    return ret;
}

/* Waits until the child has its own table of descriptors, which is its first step, or has ended. After that the caller
 * can change its descriptors without affecting the child.
 *
 * Any process of the same user may stop the child in that moment. So continue it, and if that has no effect kill it: the
 * caller must not block. A child that even SIGKILL does not end in time, because it is frozen, never runs another step:
 * it keeps the memory and the table that it has. */
static long wait_for_own_table(struct tg_launch *l, long ret)
{
    enum { PAUSE_MS = 10, CONTINUED = 50, KILLED = 100 };
    struct timespec pause = {0, PAUSE_MS * 1000000L};
    for (int waits = 0; ret > 0 && waits < KILLED && __atomic_load_n(&l->running, __ATOMIC_ACQUIRE) == 2; waits++) {
        if (tg_sys4(SYS_futex, &l->running, FUTEX_WAIT, 2, &pause) == -ETIMEDOUT)
            tg_kill((int)ret, waits < CONTINUED ? SIGCONT : SIGKILL);
    }
    return ret;
}

/* Creates the child with shared memory.
 *
 * CLONE_VM shares the memory, and CLONE_CHILD_CLEARTID reports when the child releases it. CLONE_VFORK is not set,
 * because it would block the calling thread until the exec. CLONE_SIGHAND and CLONE_FS are not set either, so the child
 * resets only its own signal handlers and changes only its own directory. CLONE_FILES lets the child start on our table
 * of descriptors instead of a copy. CLONE_PIDFD opens the pidfd in the same call, so that no number has to be looked up
 * that the host may have reaped meanwhile. CLONE_SETTLS is not set: the child keeps the thread pointer of the calling
 * thread, so it must not touch thread-local variables, errno among them. */
static long by_shared_memory(struct tg_launch *l, int method, int want_pidfd)
{
    uint64_t flags = CLONE_VM | CLONE_CHILD_CLEARTID | (l->share_table ? CLONE_FILES : 0) |
                     (l->sibling ? CLONE_PARENT : 0);
    long ret = want_pidfd ? clone_with_shared_memory(l, method, flags | CLONE_PIDFD) : -ENOSYS;
    if (!is_unsupported(ret))
        return wait_for_own_table(l, ret);
    /* A filter may allow the call without this flag. */
    ret = clone_with_shared_memory(l, method, flags);
    if (ret > 0 && want_pidfd)
        l->pidfd = tg_pidfd_open((int)ret);
    return wait_for_own_table(l, ret);
}

long tg_launch_helper(struct tg_launch *l, void (*run)(struct tg_child *))
{
    long ret = TG_FAULT(SYS_clone);
    l->pidfd = l->status_fd = -1;
    l->running = 1;
    if (!ret)
        ret = CLONE_CALL(CLONE_VM | CLONE_FILES | CLONE_CHILD_CLEARTID | SIGCHLD, l->stack + sizeof l->stack, NULL,
                         &l->running, run, &l->child);
    if (ret < 0)
        l->running = 0;
    return ret;
}
#else
static long by_shared_memory(struct tg_launch *l, int method, int want_pidfd)
{
    (void)l, (void)method, (void)want_pidfd;
    return -ENOSYS;
}

long tg_launch_helper(struct tg_launch *l, void (*run)(struct tg_child *))
{
    (void)l, (void)run;
    return -ENOSYS;
}
#endif

static long by_fork(struct tg_launch *l, int want_pidfd)
{
    l->child.table = NULL;
    long ret = tg_fork_child(l);
    if (ret > 0 && want_pidfd)
        l->pidfd = tg_pidfd_open((int)ret);
    return ret;
}

int tg_launch(struct tg_launch *l, int want_pidfd)
{
    int first = tg_attributes_need_memory(l->child.attributes) ? TG_METHOD_FORK
                                                               : __atomic_load_n(&first_method, __ATOMIC_RELAXED);
    long ret = -ENOSYS;
    l->pidfd = l->status_fd = -1;
    l->running = 0;
    l->child.fault.step = TG_STEP_NONE;
    /* Creating a child in a cgroup needs clone3 and 5.7. Otherwise the child moves itself there before its exec. */
    l->child.cgroup = -1;
    for (int method = l->cgroup >= 0 && first == TG_METHOD_CLONE3 ? BORN_INSIDE : first; method <= TG_METHOD_FORK;
         method++) {
        if (method > BORN_INSIDE)
            l->child.cgroup = l->cgroup;
        ret = method == TG_METHOD_FORK ? by_fork(l, want_pidfd) : by_shared_memory(l, method, want_pidfd);
        if (ret > 0) {
            if (method > first)
                tg_launch_method((enum tg_method)method);
            l->pid = (int32_t)ret;
            return 0;
        }
        if (!is_unsupported(ret))
            break;
    }
    return (int)ret;
}

int tg_launch_done(struct tg_launch *l, int timeout)
{
    if (l->status_fd >= 0)
        return tg_fork_done(l, timeout);
    if (timeout > 0 && __atomic_load_n(&l->running, __ATOMIC_ACQUIRE)) {
#if TG_RAW_SYSCALLS
        /* Without FUTEX_PRIVATE_FLAG, because the kernel's own wake is a shared one. */
        struct timespec t = {timeout / 1000, (timeout % 1000) * 1000000L};
        tg_sys4(SYS_futex, &l->running, FUTEX_WAIT, 1, &t);
#endif
    }
    /* Acquire: the child wrote `fault` before the kernel cleared the word. */
    return !__atomic_load_n(&l->running, __ATOMIC_ACQUIRE);
}
