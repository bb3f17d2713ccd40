/* tiny_windows.c - the smallest program: it waits for five minutes; with any argument it ends at once. */
#include <windows.h>

int main(int argc, char **argv)
{
    (void)argv;
    if (argc < 2)
        Sleep(300000);
    return 0;
}
