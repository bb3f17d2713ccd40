/* faults.h - system calls that fail: test builds put this layer between csrc/ and the kernel.
 *
 * A plan says which call fails, counted in one of four places: the library, its child half, the guard, and its child
 * half. The plan is in a page of a file that all of them share; an environment variable names the file for the guard.
 * The layer counts only calls that can fail, each with the errors that it is known to give. Of calls that one place
 * repeats, such as reads of every process there is, it counts the first forty. A host may also lack calls: these always
 * fail, so that the calls of the fallback can fail in turn. The layer records where in the program each call was made,
 * so that sites.py can check that none was left out. */
#ifndef FAULTS_H
#define FAULTS_H

#include <stdint.h>

#define FAULTS_VARIABLE "TREEGUARD_TEST_FAULTS"

/* Pseudo number of a system call: memory from libc. */
#define FAULTS_MEMORY (-2)

enum faults_place { FAULTS_LIBRARY, FAULTS_LIBRARY_CHILD, FAULTS_GUARD, FAULTS_GUARD_CHILD, FAULTS_PLACES };

/* What an older kernel lacks. */
enum {
    LACKS_CGROUP_KILL = 1,      /* before 5.14 */
    LACKS_CLOSE_RANGE = 2,      /* before 5.9 */
    LACKS_WAIT_BY_HANDLE = 4,   /* before 5.4 */
    LACKS_GROUP_HANDLES = 8,    /* before 6.9: a signal to a whole group through the handle of its leader */
    LACKS_HANDLES = 16,         /* before 5.1 and 5.3: pidfds */
    LACKS_CHILDREN = 32         /* without CONFIG_PROC_CHILDREN */
};

/* A place in the program that makes a call, identified by the return address of the call. */
struct faults_site {
    uint64_t address;
    int32_t what;
    int32_t passed;         /* number of calls in this life */
};

enum { SITE_FAILED = 1, SITE_HARMLESS = 2, SITE_REACHED = 4, SITE_AFTER_FAULT = 8 };   /* results in all lives */

enum { FAULTS_PROGRAMS = 2, FAULTS_SITES = 512 };   /* library and guard */

struct faults {
    int32_t armed;
    int32_t place;
    int32_t method;         /* first method of the guard (enum tg_method) */
    int32_t lacks;
    int32_t at;             /* number of the call that fails: 1 is the first */
    int32_t which;          /* index of its error: 0 is the first */
    int32_t calls[FAULTS_PLACES];
    int32_t number;         /* number of the system call that was chosen to fail; -1: it was not reached */
    int32_t err;            /* the error; 0: the call does not have that many errors */
    int32_t unknown;        /* number of a call that is neither known to fail nor known not to fail; 0: none */
    struct faults_site sites[FAULTS_PROGRAMS][FAULTS_SITES];    /* of all lives */
};

extern struct faults *faults;   /* NULL: no call ever fails */

/* Uses the page of a file, in the process whose places start with `place`. Returns 0, or -1. */
int faults_use(const char *path, enum faults_place place);

/* Creates such a file at a path for mkstemp, and uses it for the library. Returns 0, or -1. */
int faults_make(char *path);

/* Writes the sites of all lives to a file, for sites.py. Returns 0, or -1. */
int faults_write(const char *path);

/* Terminals are those of a kernel before 4.13 (ioctl_tty(2), TIOCGPTPEER). */
extern int faults_lack_peer;

/* Number of memory blocks that the library holds. */
extern int faults_allocations;

/* Starts a life for which a plan follows. */
void faults_clear(void);

/* Returns 0, or the -errno with which this call must fail; `address` is its return address. */
long faults_at(long number, const void *address);
long faults_now(long number);

/* Replaces tg_sys6 in csrc/. */
long faults_sys6(long n, long a, long b, long c, long d, long e, long f);

#define tg_sys6 faults_sys6
#define TG_FAULT(n) faults_now(n)

#endif
