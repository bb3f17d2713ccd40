/* engine.c - the engine: one descriptor that reports the events of all trees. */
#include "engine.h"

#include "above_stdio.h"
#include "identity.h"
#include "launch.h"
#include "queue.h"
#include "sys.h"

#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* From this number of descriptors on, waiting for the child to leave our table is cheaper than copying the table. */
enum { CROWDED = 128 };

/* The smallest page size. */
enum { PAGE = 4096 };

static void close_if_open(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Allocates memory that a forked copy finds zeroed (madvise(2), MADV_WIPEONFORK, Linux 4.14). Returns NULL if the
 * system does not support it. */
static int32_t *map_wiped_at_fork(void)
{
#ifdef MADV_WIPEONFORK
    void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return NULL;
    if (madvise(page, PAGE, MADV_WIPEONFORK) == 0) {
        *(int32_t *)page = 1;
        return page;
    }
    munmap(page, PAGE);
#endif
    return NULL;
}

/* Errors that mean that there is no null device. The engine works without it, except for streams that need it. */
static int is_absent(int err)
{
    return err == ENOENT || err == ENOTDIR || err == EACCES || err == EPERM || err == ENXIO || err == ENODEV || err == EROFS;
}

int tg_engine_null(struct tg_engine *e)
{
    if (e->null_fd < 0)
        e->null_fd = tg_above_stdio(open("/dev/null", O_RDWR | O_CLOEXEC));
    return e->null_fd;
}

/* The file that occupies the slot while it is unused. */
static int slot_filler(const struct tg_engine *e)
{
    return e->null_fd >= 0 ? e->null_fd : e->queue;
}

struct tg_engine *tg_engine_open(struct tg_fault *reterr_fault)
{
    struct tg_engine *e = malloc(sizeof *e);
    if (!e) {
        *reterr_fault = (struct tg_fault){TG_STEP_MEMORY, ENOMEM};
        return NULL;
    }
    *e = (struct tg_engine){.queue = -1, .null_fd = -1, .supervisor = -1, .in_flight = {-1, -1}, .slot = -1};
    e->owner = (int)tg_getpid();
    e->witness = map_wiped_at_fork();
    int queue = tg_queue_open();
    errno = queue < 0 ? -queue : 0;
    e->queue = tg_above_stdio(queue);
    int null = e->queue < 0 ? e->queue : tg_engine_null(e);
    if (e->queue >= 0 && (null >= 0 || is_absent(errno)))
        e->slot = fcntl(slot_filler(e), F_DUPFD_CLOEXEC, 3);
    if (e->queue < 0 || e->slot < 0) {
        *reterr_fault = (struct tg_fault){TG_STEP_ENGINE, errno};
        tg_engine_close(e);
        return NULL;
    }
    int self = tg_pidfd_open(e->owner);
    if (self == -EMFILE || self == -ENFILE || self == -ENOMEM) {
        *reterr_fault = (struct tg_fault){TG_STEP_ENGINE, -self};
        tg_engine_close(e);
        return NULL;
    }
    /* Without a pidfd (before 5.3, or if a filter forbids it) guards poll their parent process id instead. */
    e->supervisor = self < 0 ? -1 : tg_above_stdio(self);
    e->by_inode = tg_identity_by_inode(e->supervisor);
    return e;
}

int tg_engine_fd(const struct tg_engine *e)
{
    return e->queue;
}

const int32_t *tg_engine_leaving(const struct tg_engine *e)
{
    return &e->leaving;
}

const int32_t *tg_engine_witness(const struct tg_engine *e)
{
    return e->witness;
}

int tg_engine_owned(const struct tg_engine *e)
{
    return e->witness ? *e->witness : tg_getpid() == e->owner;
}

int tg_engine_crowded(const struct tg_engine *e)
{
    return e->latest >= CROWDED;
}

int tg_engine_take_slot(struct tg_engine *e, int fd)
{
    return e->slot >= 0 && tg_dup_own(fd, e->slot) >= 0;
}

void tg_engine_clear_slot(struct tg_engine *e)
{
    /* A remaining copy of the guard's end would hide the close of that end. */
    if (tg_dup_own(slot_filler(e), e->slot) < 0)
        close_if_open(&e->slot);
}

int tg_engine_drain(struct tg_engine *e, struct tg_event *ret_events, int max)
{
    void *ready[64];
    int count = 0;
    if (!tg_engine_owned(e))
        return -EPERM;
    int n = tg_queue_take(e->queue, ready, max < 64 ? max : 64);
    if (n < 0)
        return n == -EINTR ? 0 : n;
    /* Events that do not fit remain pending in their descriptors. The next call returns them. */
    for (int i = 0; i < n; i++) {
        struct tg_source *source = ready[i];
        while (count < max && source->next(source, &ret_events[count]))
            count++;
    }
    return count;
}

void tg_engine_forked(struct tg_engine *e)
{
    if (tg_engine_owned(e))
        return;
    close_if_open(&e->in_flight[0]);
    close_if_open(&e->in_flight[1]);
}

void tg_engine_close(struct tg_engine *e)
{
    if (e->queue >= 0)
        tg_queue_close(e->queue, tg_engine_owned(e));
    close_if_open(&e->null_fd);
    close_if_open(&e->slot);
    close_if_open(&e->supervisor);
    if (e->witness)
        munmap(e->witness, PAGE);
    free(e);
}
