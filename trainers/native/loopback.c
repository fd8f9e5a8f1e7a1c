/* Keeps TensorFlow's gRPC ports to this machine and this user: loaded with LD_PRELOAD into the processes of a local group.
 *
 * TensorFlow listens on all interfaces, without authentication, and takes no address to bind to. So the two calls that
 * decide who gets in are ours, for the ports in FULLPASS_OWN_PORTS alone ("4711,4712"); all others are passed on:
 *   bind    on every address becomes bind on 127.0.0.1;
 *   accept  of a connection whose other end belongs to another user is hung up before the server sees it.
 * A network namespace would do the same and more, but also cut the workers off from the stores that they read.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_PORTS 4096

static int (*real_bind)(int, const struct sockaddr*, socklen_t);
static int (*real_accept)(int, struct sockaddr*, socklen_t*);
static int (*real_accept4)(int, struct sockaddr*, socklen_t*, int);
static unsigned ports[MAX_PORTS];
static int num_ports;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void) {
  *(void**)&real_bind = dlsym(RTLD_NEXT, "bind");
  *(void**)&real_accept = dlsym(RTLD_NEXT, "accept");
  *(void**)&real_accept4 = dlsym(RTLD_NEXT, "accept4");
  const char* at = getenv("FULLPASS_OWN_PORTS");
  while (at && *at && num_ports < MAX_PORTS) {
    char* end;
    const unsigned long port = strtoul(at, &end, 10);
    if (end == at) break;
    if (port > 0 && port < 65536) ports[num_ports++] = (unsigned)port;
    at = *end == ',' ? end + 1 : end;
  }
}

static unsigned port_of(const struct sockaddr* address, socklen_t size) {
  if (address->sa_family == AF_INET && size >= sizeof(struct sockaddr_in))
    return ntohs(((const struct sockaddr_in*)address)->sin_port);
  if (address->sa_family == AF_INET6 && size >= sizeof(struct sockaddr_in6))
    return ntohs(((const struct sockaddr_in6*)address)->sin6_port);
  return 0;
}

static int is_ours(unsigned port) {
  for (int i = 0; i < num_ports; ++i)
    if (ports[i] == port) return 1;
  return 0;
}

int bind(int fd, const struct sockaddr* address, socklen_t size) {
  pthread_once(&once, start);
  if (!address || !is_ours(port_of(address, size))) return real_bind(fd, address, size);
  struct sockaddr_storage changed;
  memset(&changed, 0, sizeof changed);
  memcpy(&changed, address, size < sizeof changed ? size : sizeof changed);
  if (address->sa_family == AF_INET) {
    struct sockaddr_in* v4 = (struct sockaddr_in*)&changed;
    if (v4->sin_addr.s_addr == htonl(INADDR_ANY)) v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else {
    struct sockaddr_in6* v6 = (struct sockaddr_in6*)&changed;
    /* 127.0.0.1 as an IPv6 socket knows it: what the members of a group connect to. */
    if (IN6_IS_ADDR_UNSPECIFIED(&v6->sin6_addr)) inet_pton(AF_INET6, "::ffff:127.0.0.1", &v6->sin6_addr);
  }
  return real_bind(fd, (const struct sockaddr*)&changed, size);
}

/* Whether a row of /proc/net/tcp(6) is the other end of a connection from `theirs` to `ours`; its user goes to *uid. */
static int find_peer(const char* table, unsigned theirs, unsigned ours, unsigned* uid) {
  FILE* file = fopen(table, "re");
  if (!file) return -1;
  char line[512];
  int found = 0;
  while (!found && fgets(line, sizeof line, file)) {
    char local[64], remote[64];
    unsigned state, owner;
    if (sscanf(line, " %*[^:]: %63s %63s %x %*s %*s %*s %u", local, remote, &state, &owner) != 4) continue;
    const char *local_port = strrchr(local, ':'), *remote_port = strrchr(remote, ':');
    if (!local_port || !remote_port) continue;
    if (strtoul(local_port + 1, NULL, 16) != theirs || strtoul(remote_port + 1, NULL, 16) != ours) continue;
    *uid = owner;
    found = 1;
  }
  fclose(file);
  return found;
}

static int may_enter(int fd) {
  struct sockaddr_storage here, there;
  socklen_t here_size = sizeof here, there_size = sizeof there;
  if (getsockname(fd, (struct sockaddr*)&here, &here_size)) return 1;
  const unsigned ours = port_of((struct sockaddr*)&here, here_size);
  if (!is_ours(ours)) return 1;
  if (getpeername(fd, (struct sockaddr*)&there, &there_size)) return 0; /* gone already */
  const unsigned theirs = port_of((struct sockaddr*)&there, there_size);
  unsigned uid = 0;
  const int v4 = find_peer("/proc/net/tcp", theirs, ours, &uid);
  if (v4 > 0) return uid == geteuid();
  const int v6 = find_peer("/proc/net/tcp6", theirs, ours, &uid);
  if (v6 > 0) return uid == geteuid();
  /* Without /proc nobody can tell; then being on this machine has to do. */
  return v4 < 0 && v6 < 0;
}

int accept(int fd, struct sockaddr* address, socklen_t* size) {
  pthread_once(&once, start);
  const socklen_t room = size ? *size : 0;
  for (;;) {
    if (size) *size = room;
    const int connection = real_accept(fd, address, size);
    if (connection < 0 || may_enter(connection)) return connection;
    close(connection);
  }
}

int accept4(int fd, struct sockaddr* address, socklen_t* size, int flags) {
  pthread_once(&once, start);
  const socklen_t room = size ? *size : 0;
  for (;;) {
    if (size) *size = room;
    const int connection = real_accept4(fd, address, size, flags);
    if (connection < 0 || may_enter(connection)) return connection;
    close(connection);
  }
}
