/* runner.core.ssh: takes one non-blocking step at a time of an SSH session over libssh2.
 *
 * A session owns its socket and its LIBSSH2_SESSION; a channel belongs to libssh2's session and keeps ours alive by
 * user value. Closing a session frees its channels too, so a channel asks its session before it touches anything.
 * A step that cannot go on returns nil, message, "EAGAIN" and "r" or "w". "w" means that a packet is half sent:
 * until it is out, nothing but the same step may touch the session (libssh2 refuses a second packet). The bytes on
 * the wire are counted in the socket callbacks below, which know what libssh2 does not tell: whether a packet is
 * half sent, and whether a step took data for somebody else out of the socket. No callback touches Lua. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <libssh2.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bindings.h"
#include "fail.h"
#include "ssh_channel.h"
#include "ssh_session.h"

#define DUMMY_KEY \
  "AAAAAAAAAAAAAAAAAAAAAAAA" /* the shortest that libssh2 takes for one is 20 characters */

/* ------------------------------------------------------------------------------- libssh2's callbacks */

/* Until it starts a command, sshd leaves its socket to Nagle's algorithm: it holds a packet back while
 * the one before is not acknowledged, and the kernel here would wait 40 ms with that when there is
 * nothing to answer, as after the log-in (sshd announces its host keys then). So what came is
 * acknowledged at once; on other sockets than TCP's this fails. */
static ssize_t receive(libssh2_socket_t fd, void *buffer, size_t size, int flags, void **abstract) {
  struct session *session = *abstract;
  if (session->stage == SSH_FREEING) return 0;
  if (session->leave_input) return -EAGAIN;
  ssize_t count = recv(fd, buffer, size, flags);
  if (count < 0) return errno == EWOULDBLOCK || errno == EINTR ? -EAGAIN : -errno;
  session->received += count;
  if (session->stage != SSH_STARTED)
    setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, &(int){1}, sizeof(int));
  return count;
}

static ssize_t transmit(libssh2_socket_t fd, const void *buffer, size_t size, int flags,
                        void **abstract) {
  struct session *session = *abstract;
  if (session->stage == SSH_FREEING) return -EPIPE;
  ssize_t count = send(fd, buffer, size, flags | MSG_NOSIGNAL);
  int err = errno;
  session->half_sent = count < 0 || (size_t)count < size;
  if (count < 0) return err == EWOULDBLOCK || err == EINTR ? -EAGAIN : -err;
  return count;
}

/* Called from inside libssh2_userauth_publickey: the first time it carries the data out, the second time it has the
 * signature, which libssh2 frees. */
static int sign(LIBSSH2_SESSION *raw, unsigned char **signature, size_t *size,
                const unsigned char *data, size_t data_size, void **abstract) {
  (void)raw;
  struct session *session = *abstract;
  if (session->signing == SSH_SIGN_REFUSED) return LIBSSH2_ERROR_AGENT_PROTOCOL;
  if (session->signing == SSH_SIGN_ASK) {
    free(session->to_sign);
    session->to_sign = malloc(data_size);
    if (session->to_sign == NULL) return LIBSSH2_ERROR_ALLOC;
    memcpy(session->to_sign, data, data_size);
    session->to_sign_size = data_size;
    return LIBSSH2_ERROR_EAGAIN;
  }
  *signature = malloc(session->signature_size);
  if (*signature == NULL) return LIBSSH2_ERROR_ALLOC;
  memcpy(*signature, session->signature, session->signature_size);
  *size = session->signature_size;
  return 0;
}

/* ------------------------------------------------------------------------------------------- session */

/* Frees at once, without waiting for anybody: what the kernel has taken still goes out. */
static int session_close(lua_State *L) {
  struct session *session = luaL_checkudata(L, 1, SSH_SESSION);
  if (session->raw != NULL) {
    enum ssh_stage before = session->stage;
    if (before >= SSH_ESTABLISHED && !session->half_sent)
      libssh2_session_disconnect(session->raw, "closed by runner");
    session->stage = SSH_FREEING;
    /* Only its own failure makes libssh2 give back what an unfinished handshake holds. */
    if (before == SSH_HANDSHAKING) libssh2_session_handshake(session->raw, session->fd);
    for (int i = 0; i < 1000; i++)
      if (libssh2_session_free(session->raw) != LIBSSH2_ERROR_EAGAIN) break;
    session->raw = NULL;
  }
  free(session->to_sign);
  session->to_sign = NULL;
  if (session->watch >= 0) close(session->watch);
  if (session->fd >= 0) close(session->fd);
  session->fd = session->watch = -1;
  return 0;
}

/* [-0, +1, m] A session without a socket. */
static struct session *new_session(lua_State *L) {
  struct session *session = lua_newuserdatauv(L, sizeof *session, 0);
  memset(session, 0, sizeof *session);
  session->fd = session->watch = -1;
  luaL_setmetatable(L, SSH_SESSION);
  session->raw = libssh2_session_init_ex(NULL, NULL, NULL, session);
  if (session->raw == NULL) luaL_error(L, "out of memory");
  libssh2_session_set_blocking(session->raw, 0);
  /* libssh2 takes every callback as a void pointer, which POSIX allows and ISO C does not. */
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wpedantic"
  libssh2_session_callback_set(session->raw, LIBSSH2_CALLBACK_RECV, (void *)receive);
  libssh2_session_callback_set(session->raw, LIBSSH2_CALLBACK_SEND, (void *)transmit);
#pragma GCC diagnostic pop
  return session;
}

/* Watches the socket for nothing yet. Returns 0 or an errno. */
static int start_watch(struct session *session) {
  session->watch = epoll_create1(EPOLL_CLOEXEC);
  if (session->watch < 0) return errno;
  return epoll_ctl(session->watch, EPOLL_CTL_ADD, session->fd, &(struct epoll_event){0}) < 0 ? errno
                                                                                             : 0;
}

/* connect(address, port) -> session: begins a TCP connection to a numeric address; wait with `connected`. */
static int ssh_connect(lua_State *L) {
  const char *address = luaL_checkstring(L, 1);
  lua_Integer port = luaL_checkinteger(L, 2);
  luaL_argcheck(L, port > 0 && port < 65536, 2, "not a port");
  struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};
  struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  const struct sockaddr *to = (const struct sockaddr *)&four;
  socklen_t size = sizeof four;
  if (inet_pton(AF_INET, address, &four.sin_addr) != 1) {
    if (inet_pton(AF_INET6, address, &six.sin6_addr) != 1)
      return fail(L, "EINVAL", "%s is not a numeric address", address);
    to = (const struct sockaddr *)&six;
    size = sizeof six;
  }
  struct session *session = new_session(L);
  session->fd = socket(to->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (session->fd < 0) return fail_errno(L, errno, "socket");
  setsockopt(session->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
  if (connect(session->fd, to, size) < 0 && errno != EINPROGRESS)
    return fail_errno(L, errno, "connect");
  int err = start_watch(session);
  return err == 0 ? 1 : fail_errno(L, err, "epoll");
}

/* attach(fd) -> session: over a connected stream socket, which the session owns from now on. */
static int ssh_attach(lua_State *L) {
  int fd = (int)luaL_checkinteger(L, 1);
  struct session *session = new_session(L);
  session->fd = fd;
  if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
    return fail_errno(L, errno, "fcntl");
  int err = start_watch(session);
  return err == 0 ? 1 : fail_errno(L, err, "epoll");
}

static int session_connected(lua_State *L) {
  struct session *session = ssh_check_session(L);
  struct pollfd wait = {.fd = session->fd, .events = POLLOUT};
  if (poll(&wait, 1, 0) == 0) {
    fail(L, "EAGAIN", "would block");
    lua_pushliteral(L, "w");
    return 4;
  }
  int err = 0;
  if (getsockopt(session->fd, SOL_SOCKET, SO_ERROR, &err, &(socklen_t){sizeof err}) < 0)
    err = errno;
  if (err != 0) return fail_errno(L, err, "connect");
  lua_pushboolean(L, 1);
  return 1;
}

/* fd() -> the descriptor to poll for "r": readable when what `watch` asked for has come. */
static int session_fd(lua_State *L) {
  lua_pushinteger(L, ssh_check_session(L)->watch);
  return 1;
}

/* watch("r" | "w" | "d"): wait for data, for room, or for nothing but the end of the connection. An epoll of our own,
 * because libuv answers an error on a socket it polls with EBADF, and luv prints that. */
static int session_watch(lua_State *L) {
  static const char *const names[] = {"r", "w", "d", NULL};
  static const uint32_t events[] = {EPOLLIN | EPOLLRDHUP, EPOLLOUT, EPOLLRDHUP};
  struct session *session = ssh_check_session(L);
  struct epoll_event event = {.events = events[luaL_checkoption(L, 2, NULL, names)]};
  if (epoll_ctl(session->watch, EPOLL_CTL_MOD, session->fd, &event) < 0)
    return fail_errno(L, errno, "epoll");
  lua_pushboolean(L, 1);
  return 1;
}

/* received() -> integer: bytes taken from the socket so far. */
static int session_received(lua_State *L) {
  lua_pushinteger(L, ssh_check_session(L)->received);
  return 1;
}

/* prefer_host_keys{"ssh-ed25519", ..} before the handshake. Names that libssh2 does not know are left out here: its
 * own way of leaving them out copies overlapping memory (1.10). */
static int session_prefer_host_keys(lua_State *L) {
  struct session *session = ssh_check_session(L);
  luaL_checktype(L, 2, LUA_TTABLE);
  char kept[256] = "";
  size_t size = 0;
  const char **known;
  int count = libssh2_session_supported_algs(session->raw, LIBSSH2_METHOD_HOSTKEY, &known);
  if (count < 0) return ssh_fail(L, session, count);
  for (int n = 1; lua_rawgeti(L, 2, n) == LUA_TSTRING; n++) {
    const char *name = lua_tostring(L, -1); /* alive in the table */
    lua_pop(L, 1);
    for (int i = 0; i < count; i++)
      if (strcmp(name, known[i]) == 0 && size + strlen(name) + 2 < sizeof kept)
        size += (size_t)sprintf(kept + size, "%s%s", size > 0 ? "," : "", name);
  }
  libssh2_free(session->raw, known);
  return ssh_done(L, session,
                  libssh2_session_method_pref(session->raw, LIBSSH2_METHOD_HOSTKEY, kept));
}

static int session_handshake(lua_State *L) {
  struct session *session = ssh_check_session(L);
  session->stage = SSH_HANDSHAKING;
  int code = libssh2_session_handshake(session->raw, session->fd);
  if (code == 0)
    session->stage = SSH_ESTABLISHED;
  else if (code != LIBSSH2_ERROR_EAGAIN)
    session->stage = SSH_CONNECTING;
  return ssh_done(L, session, code);
}

/* host_key() -> the key as it is on the wire (its type is its first string) | nil, message, code */
static int session_host_key(lua_State *L) {
  struct session *session = ssh_check_session(L);
  size_t size;
  int type;
  const char *key = libssh2_session_hostkey(session->raw, &size, &type);
  if (key == NULL) return fail(L, "EHOSTKEY", "the host sent no key");
  lua_pushlstring(L, key, size);
  return 1;
}

/* auth_methods(user) -> "publickey,password" | true when the host wants no authentication */
static int session_auth_methods(lua_State *L) {
  struct session *session = ssh_check_session(L);
  size_t size;
  const char *user = luaL_checklstring(L, 2, &size);
  const char *methods = libssh2_userauth_list(session->raw, user, (unsigned)size);
  if (methods != NULL) {
    lua_pushstring(L, methods);
    return 1;
  }
  if (libssh2_userauth_authenticated(session->raw)) {
    lua_pushboolean(L, 1);
    return 1;
  }
  return ssh_fail(L, session, libssh2_session_last_errno(session->raw));
}

/* auth_file(user, path, passphrase) -> true. The passphrase is never NULL: OpenSSL would ask the terminal. */
static int session_auth_file(lua_State *L) {
  struct session *session = ssh_check_session(L);
  size_t size;
  const char *user = luaL_checklstring(L, 2, &size);
  const char *path = luaL_checkstring(L, 3);
  const char *passphrase = luaL_optstring(L, 4, "");
  return ssh_done(L, session,
                  libssh2_userauth_publickey_fromfile_ex(session->raw, user, (unsigned)size, NULL,
                                                         path, passphrase));
}

/* auth_key(user, public_key, signature?) -> true. With code "ESIGN" the host takes this key: sign what `to_sign`
 * returns and call again with the signature, or with false when that is refused. */
static int session_auth_key(lua_State *L) {
  struct session *session = ssh_check_session(L);
  const char *user = luaL_checkstring(L, 2);
  size_t size;
  const char *key = luaL_checklstring(L, 3, &size);
  session->signing = lua_isboolean(L, 4)     ? SSH_SIGN_REFUSED
                     : lua_isnoneornil(L, 4) ? SSH_SIGN_ASK
                                             : SSH_SIGN_GIVEN;
  if (session->signing == SSH_SIGN_GIVEN)
    session->signature = luaL_checklstring(L, 4, &session->signature_size);
  void *abstract = session;
  int code = libssh2_userauth_publickey(session->raw, user, (const unsigned char *)key, size, sign,
                                        &abstract);
  session->signature = NULL;
  if (code == LIBSSH2_ERROR_EAGAIN && session->to_sign != NULL)
    return fail(L, "ESIGN", "a signature is needed");
  return ssh_done(L, session, code);
}

static int session_to_sign(lua_State *L) {
  struct session *session = ssh_check_session(L);
  if (session->to_sign == NULL) return 0;
  lua_pushlstring(L, (const char *)session->to_sign, session->to_sign_size);
  free(session->to_sign);
  session->to_sign = NULL;
  return 1;
}

/* keepalive() -> whether a request that the host must answer went out. Never waits: with a full socket there is no
 * need, and a half sent one could not be finished. At most one in two seconds. */
static int session_keepalive(lua_State *L) {
  struct session *session = ssh_check_session(L);
  struct pollfd room = {.fd = session->fd, .events = POLLOUT};
  bool sent = false;
  if (!session->half_sent && poll(&room, 1, 0) == 1 && (room.revents & POLLOUT)) {
    int next;
    libssh2_keepalive_config(session->raw, 1, 2);
    sent = libssh2_keepalive_send(session->raw, &next) == 0;
  }
  lua_pushboolean(L, sent);
  return 1;
}

/* ------------------------------------------------------------------------------------------- module */

/* matches_hashed("|1|salt|hash", name) -> boolean: is this the hashed known_hosts entry of `name`? */
static int ssh_matches_hashed(lua_State *L) {
  size_t size;
  const char *hashed = luaL_checkstring(L, 1);
  const char *name = luaL_checkstring(L, 2);
  /* libssh2 wants a whole line; its key plays no part, for a mismatch says that the name matched. */
  const char *line = lua_pushfstring(L, "%s ssh-ed25519 " DUMMY_KEY "\n", hashed);
  size = strlen(line);
  int found = LIBSSH2_KNOWNHOST_CHECK_NOTFOUND;
  LIBSSH2_SESSION *session = libssh2_session_init();
  LIBSSH2_KNOWNHOSTS *hosts = session != NULL ? libssh2_knownhost_init(session) : NULL;
  if (hosts != NULL &&
      libssh2_knownhost_readline(hosts, line, size, LIBSSH2_KNOWNHOST_FILE_OPENSSH) == 0)
    found = libssh2_knownhost_checkp(hosts, name, -1, DUMMY_KEY, sizeof DUMMY_KEY - 1,
                                     LIBSSH2_KNOWNHOST_TYPE_PLAIN | LIBSSH2_KNOWNHOST_KEYENC_BASE64,
                                     NULL);
  if (hosts != NULL) libssh2_knownhost_free(hosts);
  if (session != NULL) libssh2_session_free(session);
  lua_pushboolean(L, found == LIBSSH2_KNOWNHOST_CHECK_MATCH ||
                         found == LIBSSH2_KNOWNHOST_CHECK_MISMATCH);
  return 1;
}

static const luaL_Reg session_methods[] = {{"connected", session_connected},
                                           {"fd", session_fd},
                                           {"watch", session_watch},
                                           {"received", session_received},
                                           {"prefer_host_keys", session_prefer_host_keys},
                                           {"handshake", session_handshake},
                                           {"host_key", session_host_key},
                                           {"auth_methods", session_auth_methods},
                                           {"auth_file", session_auth_file},
                                           {"auth_key", session_auth_key},
                                           {"to_sign", session_to_sign},
                                           {"keepalive", session_keepalive},
                                           {"channel", ssh_channel_open},
                                           {"close", session_close},
                                           {"__close", session_close},
                                           {"__gc", session_close},
                                           {NULL, NULL}};

static const luaL_Reg functions[] = {{"connect", ssh_connect},
                                     {"attach", ssh_attach},
                                     {"matches_hashed", ssh_matches_hashed},
                                     {NULL, NULL}};

int luaopen_runner_core_ssh(lua_State *L) {
  static bool ready = false; /* once a process: it initialises the crypto library */
  if (!ready && libssh2_init(0) != 0) return luaL_error(L, "libssh2 cannot start");
  ready = true;
  define_class(L, SSH_SESSION, session_methods);
  ssh_channel_define(L);
  luaL_newlib(L, functions);
  lua_pushstring(L, libssh2_version(0));
  lua_setfield(L, -2, "version");
  /* Before 1.11 libssh2 signs with RSA keys only by SHA-1, which OpenSSH 8.8 and later refuse. */
  lua_pushboolean(L, libssh2_version(0x010b00) != NULL);
  lua_setfield(L, -2, "rsa_sha2");
  return 1;
}
