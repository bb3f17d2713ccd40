/* linux/isolation.c - isolation by a Landlock domain that scopes signals, and within a PID namespace. The rules of child.c
 * apply here too. */
#include "../isolation.h"

#include "../sys.h"
#include "../treeguard.h"

#include <linux/capability.h>
#include <linux/magic.h>
#include <linux/securebits.h>
#include <sys/mount.h>
#include <sys/prctl.h>

/* The first version of Landlock's ABI that scopes signals: Linux 6.12. */
enum { ABI_SCOPES_SIGNALS = 6 };

/* linux/landlock.h */
#define SCOPE_SIGNAL (1ULL << 1)
#define GET_VERSION 1U

struct ruleset {    /* struct landlock_ruleset_attr as of 6.12 */
    uint64_t files;
    uint64_t network;
    uint64_t scoped;
};

/* Enters a Landlock domain that scopes signals.
 *
 * An older kernel rejects the ruleset with E2BIG. This kernel returns E2BIG for a domain nested below 16 others. The
 * domain persists across exec, and independently of the user and the capabilities that the process has or gets. A
 * process in a domain cannot trace processes outside of it, so the kernel also denies /proc/PID/mem and similar files,
 * pidfd_getfd and process_vm_readv. A parent-death signal that was armed before stays armed, because it does not depend
 * on the credentials that change here (commit_creds in kernel/cred.c). */
TG_RAW long tg_isolate(void)
{
    const struct ruleset rules = {.scoped = SCOPE_SIGNAL};
    long ret = tg_sys5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    if (ret < 0)
        return ret;
    long fd = tg_sys3(SYS_landlock_create_ruleset, &rules, sizeof rules, 0);
    if (fd < 0)
        return fd;
    ret = tg_sys2(SYS_landlock_restrict_self, fd, 0);
    tg_close((int)fd);
    return ret;
}

/* What root executes has all capabilities of its namespace. With NOROOT only the capabilities of files are left, and
 * with no_new_privs a process gets none of them that it does not have (capabilities(7)). */
TG_RAW static long drop_capabilities(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    const struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}, {0, 0, 0}};
    long ret = tg_sys5(SYS_prctl, PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0);
    if (ret >= 0)
        ret = tg_sys5(SYS_prctl, PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    return ret < 0 ? ret : tg_sys2(SYS_capset, &header, none);
}

/* A working directory in the /proc of the host would lead back to it. */
TG_RAW static long leave_old_proc(void)
{
    char path[4096];
    long kind[32] = {0};    /* struct statfs, of which this is the first member */
    long ret = tg_sys2(SYS_statfs, ".", kind);
    if (ret < 0 || kind[0] != PROC_SUPER_MAGIC)
        return ret == -EACCES ? 0 : ret;
    ret = tg_sys2(SYS_getcwd, path, sizeof path);
    return ret < 0 ? ret : tg_chdir(path);
}

/* The kernel refuses this (EPERM) where parts of the /proc that is seen now are hidden, as in containers, since they
 * would show. */
TG_RAW long tg_settle_inside(void)
{
    long ret = tg_sys5(SYS_mount, "proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    if (ret >= 0)
        ret = leave_old_proc();
    return ret < 0 || tg_geteuid() ? ret : drop_capabilities();
}

int tg_isolation_abi(int *ret_needed)
{
    *ret_needed = ABI_SCOPES_SIGNALS;
    return (int)tg_sys3(SYS_landlock_create_ruleset, NULL, 0, GET_VERSION);
}
