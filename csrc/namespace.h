/* namespace.h - a root in a PID namespace of its own, with an init that is ours. Each platform has its own
 * implementation.
 *
 * The guard stays outside. Its helper enters new user, mount and PID namespaces, forks the init there, and starts the
 * root. Both are children of the guard, which reaps them as it reaps any root, and knows them by the numbers outside.
 * The init adopts and reaps the orphans. It goes when nothing else is left in the namespace, and when it is killed the
 * kernel kills all that is left: no process can escape that. */
#ifndef TG_NAMESPACE_H
#define TG_NAMESPACE_H

#include "launch.h"

#define TG_INIT_NAME "treeguard-init"

struct tg_namespace {
    int32_t init;           /* process id of the init, ours to reap; 0: none */
    struct tg_fault fault;  /* why there is no root */
};

/* Starts a root in new namespaces: tg_launch within them. The attributes that take privileges outside of the namespace
 * (user and groups) are set first and are taken out of `attributes`. `argv`: the guard's; the init gives itself a name, and
 * erases `size` bytes from the second string on. Returns 0, or -errno with a fault: then the init, if there is one, has to be killed. */
int tg_launch_inside(struct tg_launch *launch, struct tg_namespace *ret_namespace, struct tg_attributes *attributes,
                     char **argv, size_t size);

#endif
