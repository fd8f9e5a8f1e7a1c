/* A wall clock that jumps: adds the seconds in the file $CLOCK_OFFSET_FILE (a little-endian int64) to CLOCK_REALTIME. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static int (*real)(clockid_t, struct timespec*);
static volatile const int64_t* offset;

__attribute__((constructor)) static void start(void) {
  *(void**)&real = dlsym(RTLD_NEXT, "clock_gettime");
  const char* path = getenv("CLOCK_OFFSET_FILE");
  const int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
  if (fd < 0) return;
  void* view = mmap(NULL, sizeof *offset, PROT_READ, MAP_SHARED, fd, 0);
  if (view != MAP_FAILED) offset = view;
  close(fd);
}

int clock_gettime(clockid_t id, struct timespec* out) {
  const int failed = real(id, out);
  if (!failed && id == CLOCK_REALTIME && offset) out->tv_sec += *offset;
  return failed;
}
