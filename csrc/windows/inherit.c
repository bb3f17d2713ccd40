/* windows/inherit.c - the handles that a root inherits, and the block that tells its C runtime which handle is which
 * descriptor. */
#include "job.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The format that C runtimes read from STARTUPINFO.lpReserved2: a count, that many bytes of flags, that many
 * handles. */
enum { FLAG_OPEN = 0x01, FLAG_PIPE = 0x08, FLAG_DEVICE = 0x40 };
enum { ENTRY = 1 + sizeof(HANDLE), MAX_FDS = (0xFFFF - sizeof(int)) / ENTRY };

static HANDLE handle_of(int32_t number)
{
    /* Handles have 32 significant bits, sign extended. */
    return (HANDLE)(LONG_PTR)number;
}

static HANDLE duplicate(HANDLE handle)
{
    HANDLE self = GetCurrentProcess(), copy = NULL;
    return DuplicateHandle(self, handle, self, &copy, 0, TRUE, DUPLICATE_SAME_ACCESS) ? copy : NULL;
}

static HANDLE null_device(void)
{
    SECURITY_ATTRIBUTES inheritable = {sizeof inheritable, NULL, TRUE};
    HANDLE handle = CreateFileW(L"NUL", GENERIC_READ | GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE, &inheritable,
                                OPEN_EXISTING, 0, NULL);
    return handle == INVALID_HANDLE_VALUE ? NULL : handle;
}

static int take(struct tg_inherited *in, HANDLE handle)
{
    if (!handle)
        return 0;
    in->list[in->count++] = handle;
    return 1;
}

static BYTE flags_of(HANDLE handle)
{
    switch (GetFileType(handle)) {
    case FILE_TYPE_PIPE:
        return FLAG_OPEN | FLAG_PIPE;
    case FILE_TYPE_CHAR:
        return FLAG_OPEN | FLAG_DEVICE;
    default:
        return FLAG_OPEN;
    }
}

/* Omits the standard streams: runtimes take these from STARTUPINFO, like all programs. */
static int describe(struct tg_inherited *in, const struct tg_spec *spec)
{
    int count = spec->fds[spec->nfds - 1] + 1;
    HANDLE none = INVALID_HANDLE_VALUE;
    in->runtime_size = (WORD)(sizeof count + (size_t)count * ENTRY);
    in->runtime = calloc(1, in->runtime_size);
    if (!in->runtime)
        return 0;
    BYTE *flags = in->runtime + sizeof count, *handles = flags + count;
    memcpy(in->runtime, &count, sizeof count);
    for (int i = 0; i < count; i++)
        memcpy(handles + (size_t)i * sizeof none, &none, sizeof none);
    for (uint32_t i = 0; i < spec->nfds; i++) {
        HANDLE handle = in->list[3 + i];
        flags[spec->fds[i]] = flags_of(handle);
        memcpy(handles + (size_t)spec->fds[i] * sizeof handle, &handle, sizeof handle);
    }
    return 1;
}

static int refuse(struct tg_inherited *in, int step, struct tg_fault *reterr_fault)
{
    *reterr_fault = tg_fault_now(step);
    tg_inherited_close(in);
    return 0;
}

int tg_inherit(const struct tg_spec *spec, struct tg_inherited *ret, struct tg_fault *reterr_fault)
{
    struct tg_inherited in = {0};
    in.list = calloc(3 + (size_t)spec->nfds, sizeof *in.list);
    if (!in.list) {
        SetLastError(ERROR_OUTOFMEMORY);
        return refuse(&in, TG_STEP_MEMORY, reterr_fault);
    }
    for (int i = 0; i < 3; i++) {
        int given = spec->stdio[i] != -1;
        if (!take(&in, given ? duplicate(handle_of(spec->stdio[i])) : null_device()))
            return refuse(&in, TG_STEP_STDIO, reterr_fault);
        in.stdio[i] = in.list[i];
    }
    for (uint32_t i = 0; i < spec->nfds; i++) {
        if (spec->fds[i] >= (int)MAX_FDS)
            SetLastError(ERROR_TOO_MANY_OPEN_FILES);
        if (spec->fds[i] >= (int)MAX_FDS || !take(&in, duplicate(handle_of(spec->handles[i]))))
            return refuse(&in, TG_STEP_PASS_FDS, reterr_fault);
    }
    if (spec->nfds && !describe(&in, spec)) {
        SetLastError(ERROR_OUTOFMEMORY);
        return refuse(&in, TG_STEP_MEMORY, reterr_fault);
    }
    *ret = in;
    return 1;
}

void tg_inherited_close(struct tg_inherited *in)
{
    for (DWORD i = 0; i < in->count; i++)
        tg_close(in->list[i]);
    free(in->list);
    free(in->runtime);
}
