/* faults.h - system calls that fail: a layer that builds for tests put between csrc/ and the kernel.
 *
 * A plan says which call fails, counted in one of four places: the library, its child half, the guard, and its child
 * half. It lies in a page of a file that all of them share; the guard finds that file by a variable of its environment.
 * Only calls that can fail are counted, each with the errors that it is known to give, and of those that are made again
 * and again from one place, as in a look at every process there is, the first forty. A host may lack calls besides: these
 * fail always, so that what is done instead has its own calls to be failed. Where in the program each call was made is
 * kept, for sites.py to see that none was left out. */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdint.h>

#define FAULTS_VARIABLE "TREEGUARD_TEST_FAULTS"

/* In the place of a system call's number: memory from libc. */
#define FAULTS_MEMORY (-2)

enum faults_place { FAULTS_LIBRARY, FAULTS_LIBRARY_CHILD, FAULTS_GUARD, FAULTS_GUARD_CHILD, FAULTS_PLACES };

/* What an older kernel has not. */
enum {
    LACKS_CGROUP_KILL = 1,      /* before 5.14 */
    LACKS_CLOSE_RANGE = 2,      /* before 5.9 */
    LACKS_WAIT_BY_HANDLE = 4,   /* before 5.4 */
    LACKS_GROUP_HANDLES = 8,    /* before 6.9: a signal to all of a group, by a handle of its leader */
    LACKS_HANDLES = 16,         /* before 5.1 and 5.3: pidfds */
    LACKS_CHILDREN = 32         /* without CONFIG_PROC_CHILDREN */
};

/* A place in the program that calls, by the address that the call returns to. */
struct faults_site {
    uint64_t address;
    int32_t what;
    int32_t passed;         /* how often in this life */
};

enum { SITE_FAILED = 1, SITE_HARMLESS = 2, SITE_REACHED = 4, SITE_AFTER_FAULT = 8 };   /* what it did, in any life */

enum { FAULTS_PROGRAMS = 2, FAULTS_SITES = 512 };   /* library and guard */

struct faults {
    int32_t armed;
    int32_t place;
    int32_t method;         /* that the guard begins with (enum tg_method) */
    int32_t lacks;
    int32_t at;             /* the call that fails: 1 is the first */
    int32_t which;          /* of its errors: 0 is the first */
    int32_t calls[FAULTS_PLACES];
    int32_t number;         /* of the system call that was to fail; -1: it was not reached */
    int32_t err;            /* that it failed with; 0: it has not so many errors */
    int32_t unknown;        /* number of a call that is neither known to fail nor known not to; 0: none */
    struct faults_site sites[FAULTS_PROGRAMS][FAULTS_SITES];    /* of all lives */
};

extern struct faults *faults;   /* NULL: nothing ever fails */

/* Uses the page of a file, in the process whose places begin with `place`. 0, or -1. */
int faults_use(const char *path, enum faults_place place);

/* How many pieces of memory the library holds. */
extern int faults_allocations;

/* Begins a life in which a plan is to be made. */
void faults_clear(void);

/* 0, or the -errno that this call, which returns to `address`, is to fail with. */
long faults_at(long number, const void *address);
long faults_now(long number);

/* What csrc/ sees in the place of tg_sys6. */
long faults_sys6(long n, long a, long b, long c, long d, long e, long f);

#define tg_sys6 faults_sys6
#define TG_FAULT(n) faults_now(n)

#endif
