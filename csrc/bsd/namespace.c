/* bsd/namespace.c - no namespaces, which exist on Linux only. The guard never gets an order to enter one here. */
#include "../namespace.h"

int tg_launch_inside(struct tg_launch *launch, struct tg_namespace *ret_namespace, struct tg_attributes *attributes,
                     char **argv, size_t size)
{
    (void)launch, (void)attributes, (void)argv, (void)size;
    *ret_namespace = (struct tg_namespace){0, {TG_STEP_PID_NAMESPACE, ENOSYS}};
    return -ENOSYS;
}
