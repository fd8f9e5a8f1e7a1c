/* Keeps ports of servers to this machine and this user: loaded with LD_PRELOAD into the processes of a local group, and into
 * Beam's job servers.
 *
 * TensorFlow listens on all interfaces, without authentication, and takes no address to bind to; Beam's job servers with the Flink
 * or Spark inside do so on a dozen ports. So the two calls that decide who gets in are ours, for the ports in FULLPASS_OWN_PORTS
 * alone ("4711,4712", or "all" for every TCP port that is listened on); all others are passed on:
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
#include <stdint.h>
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
static int num_ports, every_port;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void start(void) {
  *(void**)&real_bind = dlsym(RTLD_NEXT, "bind");
  *(void**)&real_accept = dlsym(RTLD_NEXT, "accept");
  *(void**)&real_accept4 = dlsym(RTLD_NEXT, "accept4");
  const char* at = getenv("FULLPASS_OWN_PORTS");
  every_port = at && !strcmp(at, "all");
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
  if (every_port) return 1;
  for (int i = 0; i < num_ports; ++i)
    if (ports[i] == port) return 1;
  return 0;
}

static int is_stream(int fd, const struct sockaddr* address) {
  int type = 0;
  socklen_t size = sizeof type;
  if (address->sa_family != AF_INET && address->sa_family != AF_INET6) return 0;
  return !getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) && type == SOCK_STREAM;
}

int bind(int fd, const struct sockaddr* address, socklen_t size) {
  pthread_once(&once, start);
  if (!address || !is_stream(fd, address) || !is_ours(port_of(address, size))) return real_bind(fd, address, size);
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

/* Writes an address and port as a row of /proc/net/tcp shows it, or of /proc/net/tcp6; an empty text where the table cannot hold it. */
static void as_row(const struct sockaddr* address, int v6, char* text, size_t size) {
  uint32_t words[4] = {0, 0, htonl(0xffff), 0};
  int only_v6 = 0;
  unsigned port;
  if (address->sa_family == AF_INET) {
    const struct sockaddr_in* v4 = (const struct sockaddr_in*)address;
    words[3] = v4->sin_addr.s_addr;
    port = ntohs(v4->sin_port);
  } else {
    const struct sockaddr_in6* six = (const struct sockaddr_in6*)address;
    memcpy(words, &six->sin6_addr, sizeof words);
    only_v6 = !IN6_IS_ADDR_V4MAPPED(&six->sin6_addr);
    port = ntohs(six->sin6_port);
  }
  if (v6)
    snprintf(text, size, "%08X%08X%08X%08X:%04X", words[0], words[1], words[2], words[3], port);
  else if (only_v6)
    *text = 0;
  else
    snprintf(text, size, "%08X:%04X", words[3], port);
}

/* Whether a row of /proc/net/tcp(6) is the other end of a connection from `there` to `here`; its user goes to *uid.
 * Addresses count as ports do: 127.0.0.2:P is not 127.0.0.1:P, and 127/8 is everybody's. A socket that no process has any
 * more (its inode is 0) belongs to nobody: kernels before 6.16 show it as root's. */
static int find_peer(const char* table, int v6, const struct sockaddr* there, const struct sockaddr* here, unsigned* uid) {
  char theirs[64], ours[64];
  as_row(there, v6, theirs, sizeof theirs);
  as_row(here, v6, ours, sizeof ours);
  FILE* file = fopen(table, "re");
  if (!file) return -1;
  char line[512];
  int found = 0;
  while (!found && fgets(line, sizeof line, file)) {
    char local[64], remote[64];
    unsigned owner;
    unsigned long inode;
    if (sscanf(line, " %*[^:]: %63s %63s %*x %*s %*s %*s %u %*s %lu", local, remote, &owner, &inode) != 4) continue;
    if (strcmp(local, theirs) || strcmp(remote, ours) || !inode) continue;
    *uid = owner;
    found = 1;
  }
  fclose(file);
  return found;
}

static int may_enter(int fd) {
  struct sockaddr_storage here, there;
  socklen_t here_size = sizeof here, there_size = sizeof there;
  const struct sockaddr *const ours = (const struct sockaddr*)&here, *const theirs = (const struct sockaddr*)&there;
  if (getsockname(fd, (struct sockaddr*)&here, &here_size) || !is_stream(fd, ours)) return 1;
  if (!is_ours(port_of(ours, here_size))) return 1;
  if (getpeername(fd, (struct sockaddr*)&there, &there_size)) return 0; /* gone already */
  unsigned uid = 0;
  const int v4 = find_peer("/proc/net/tcp", 0, theirs, ours, &uid);
  if (v4 > 0) return uid == geteuid();
  const int v6 = find_peer("/proc/net/tcp6", 1, theirs, ours, &uid);
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
