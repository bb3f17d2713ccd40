/* linux/attributes.c - attributes that only Linux has, and capabilities. The rules of child.c apply here too. */
#include "../attributes.h"

#include <linux/capability.h>

/* The file belongs to root while the memory of the process is undumpable, and this memory is a copy of a guard's, which
 * is. So make it dumpable until the exec. It is the child's own (tg_attributes_need_memory), and the descriptors that
 * the root does not get are closed already. */
TG_RAW long tg_set_oom_score_adj(int adjustment)
{
    char text[16], *first = text + sizeof text;
    unsigned rest = adjustment < 0 ? 0u - (unsigned)adjustment : (unsigned)adjustment;
    long ret = tg_sys5(SYS_prctl, PR_SET_DUMPABLE, 1, 0, 0, 0);
    if (ret < 0)
        return ret;
    long fd = tg_sys4(SYS_openat, AT_FDCWD, "/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC, 0);
    if (fd < 0)
        return fd;
    do
        *--first = (char)('0' + rest % 10);
    while ((rest /= 10));
    if (adjustment < 0)
        *--first = '-';
    ret = tg_write((int)fd, first, (size_t)(text + sizeof text - first));
    tg_close((int)fd);
    return ret < 0 ? ret : 0;
}

TG_RAW long tg_set_cpu_affinity(const uint64_t cpus[TG_CPU_WORDS])
{
    return tg_sys3(SYS_sched_setaffinity, 0, TG_CPU_WORDS * sizeof *cpus, cpus);
}

/* capget(2). Without an answer, which only a filter withholds, the user decides. */
int tg_privileges(void)
{
    struct __user_cap_header_struct header = {_LINUX_CAPABILITY_VERSION_3, 0};
    struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0, 0, 0}, {0, 0, 0}};
    if (tg_sys2(SYS_capget, &header, data) < 0)
        return tg_geteuid() == 0 ? TG_MAY_CHANGE_USER | TG_MAY_SIGNAL_ALL : 0;
    return (data[0].effective & 1u << CAP_SETUID ? TG_MAY_CHANGE_USER : 0) |
           (data[0].effective & 1u << CAP_KILL ? TG_MAY_SIGNAL_ALL : 0);
}
