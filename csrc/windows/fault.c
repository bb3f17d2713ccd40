/* windows/fault.c - translates Windows errors to errno. */
#include "job.h"

#include <errno.h>

/* Some headers lack these. */
#ifndef ERROR_VIRUS_INFECTED
#define ERROR_VIRUS_INFECTED 225
#endif
#ifndef ERROR_ELEVATION_REQUIRED
#define ERROR_ELEVATION_REQUIRED 740
#endif

struct translation {
    DWORD error;
    int err;
};

static const struct translation translations[] = {
    {ERROR_FILE_NOT_FOUND, ENOENT},
    {ERROR_PATH_NOT_FOUND, ENOENT},
    {ERROR_INVALID_DRIVE, ENOENT},
    {ERROR_BAD_NETPATH, ENOENT},
    {ERROR_BAD_NET_NAME, ENOENT},
    {ERROR_BAD_PATHNAME, ENOENT},
    {ERROR_INVALID_NAME, ENOENT},
    {ERROR_DIRECTORY, ENOTDIR},
    {ERROR_ACCESS_DENIED, EACCES},
    {ERROR_SHARING_VIOLATION, EACCES},
    {ERROR_ELEVATION_REQUIRED, EACCES},
    {ERROR_ACCESS_DISABLED_BY_POLICY, EACCES},
    {ERROR_VIRUS_INFECTED, EACCES},
    {ERROR_PRIVILEGE_NOT_HELD, EPERM},
    {ERROR_BAD_EXE_FORMAT, ENOEXEC},
    {ERROR_EXE_MACHINE_TYPE_MISMATCH, ENOEXEC},
    {ERROR_FILENAME_EXCED_RANGE, E2BIG},    /* from CreateProcess: a command line of more than 32,767 characters */
    {ERROR_INVALID_HANDLE, EBADF},
    {ERROR_TOO_MANY_OPEN_FILES, EMFILE},
    {ERROR_NOT_ENOUGH_MEMORY, ENOMEM},
    {ERROR_OUTOFMEMORY, ENOMEM},
    {ERROR_COMMITMENT_LIMIT, ENOMEM},
    {ERROR_NO_SYSTEM_RESOURCES, ENOMEM},
    {ERROR_NOT_ENOUGH_QUOTA, EAGAIN},
    {ERROR_INTERNAL_ERROR, EAGAIN},         /* from CreateProcess under Wine: the host has no resources for the
                                             * process */
    {ERROR_NOT_SUPPORTED, ENOSYS},
    {ERROR_CALL_NOT_IMPLEMENTED, ENOSYS},
};

int tg_errno(DWORD error)
{
    for (size_t i = 0; i < sizeof translations / sizeof *translations; i++)
        if (translations[i].error == error)
            return translations[i].err;
    return EINVAL;
}

void tg_close(HANDLE handle)
{
    DWORD error = GetLastError();
    if (handle)
        CloseHandle(handle);
    SetLastError(error);
}

struct tg_fault tg_fault_now(int step)
{
    struct tg_fault fault;
    fault.step = step;
    fault.err = tg_errno(GetLastError());
    return fault;
}
