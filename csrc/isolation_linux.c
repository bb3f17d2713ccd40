/* isolation_linux.c - isolation by a Landlock domain that is scoped for signals. The law of child.c holds here too. */
#include "isolation.h"

#include "sys.h"
#include "treeguard.h"

#include <sys/prctl.h>

/* The first version of Landlock's ABI that scopes signals: Linux 6.12. */
enum { ABI_SCOPES_SIGNALS = 6 };

/* linux/landlock.h */
#define SCOPE_SIGNAL (1ULL << 1)
#define GET_VERSION 1U

struct ruleset {    /* struct landlock_ruleset_attr, as it is since 6.12 */
    uint64_t files;
    uint64_t network;
    uint64_t scoped;
};

/* An older kernel says E2BIG to the ruleset; this one says so to a domain below 16 others. The domain lasts through exec, and
 * whatever user and capabilities the process has or gets. A process in a domain may trace none outside of it, so /proc/PID/mem
 * and the like, pidfd_getfd and process_vm_readv are refused with the same stroke. A parent-death signal that was armed
 * before stays armed: the credentials that change are not those that it depends on (commit_creds in kernel/cred.c). */
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

int tg_isolation_abi(int *ret_needed)
{
    *ret_needed = ABI_SCOPES_SIGNALS;
    return (int)tg_sys3(SYS_landlock_create_ruleset, NULL, 0, GET_VERSION);
}
