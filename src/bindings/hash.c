/* runner.core.hash: hashes strings and files with SHA-256. A hash is a userdata that may own one file descriptor; files
 * are read in steps, so that a big one does not keep the loop waiting. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <stdbool.h>
#include <unistd.h>

#include "bindings.h"
#include "common/sha256.h"
#include "fail.h"

#define HASH "runner.hash"

struct hash {
  struct sha256 sha256;
  int fd; /* -1: of strings, or closed */
  bool over;
};

/* [-0, +0, v] */
static int hash_close(lua_State *L) {
  struct hash *hash = luaL_checkudata(L, 1, HASH);
  if (hash->fd >= 0) close(hash->fd);
  hash->fd = -1;
  return 0;
}

static struct hash *check_open(lua_State *L) {
  struct hash *hash = luaL_checkudata(L, 1, HASH);
  luaL_argcheck(L, !hash->over, 1, "this hash has ended");
  return hash;
}

static int push_digest(lua_State *L, struct hash *hash) {
  uint8_t digest[SHA256_SIZE];
  hash->over = true;
  sha256_end(&hash->sha256, digest);
  lua_pushlstring(L, (const char *)digest, sizeof digest);
  return 1;
}

/* hash:add(bytes) */
static int hash_add(lua_State *L) {
  struct hash *hash = check_open(L);
  size_t size;
  const char *bytes = luaL_checklstring(L, 2, &size);
  sha256_add(&hash->sha256, bytes, size);
  return 0;
}

/* hash:digest() -> 32 bytes; the hash has then ended. */
static int hash_digest(lua_State *L) { return push_digest(L, check_open(L)); }

/* hash:step(most) -> 32 bytes, size | false (there is more) | nil, message, code. Of a file: reads so many bytes. */
static int hash_step(lua_State *L) {
  struct hash *hash = check_open(L);
  lua_Integer most = luaL_checkinteger(L, 2);
  uint8_t bytes[64 << 10];
  luaL_argcheck(L, hash->fd >= 0, 1, "not the hash of a file");
  while (most > 0) {
    ssize_t got = read(hash->fd, bytes, sizeof bytes);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail_errno(L, errno, "read");
    if (got == 0) {
      lua_Integer size = (lua_Integer)hash->sha256.length; /* the end of the hash adds to it */
      hash_close(L);
      push_digest(L, hash);
      lua_pushinteger(L, size);
      return 2;
    }
    sha256_add(&hash->sha256, bytes, (size_t)got);
    most -= got;
  }
  lua_pushboolean(L, 0);
  return 1;
}

static struct hash *push_hash(lua_State *L) {
  struct hash *hash = lua_newuserdatauv(L, sizeof *hash, 0);
  hash->fd = -1;
  hash->over = false;
  sha256_begin(&hash->sha256);
  luaL_setmetatable(L, HASH);
  return hash;
}

/* new() -> hash */
static int new_hash(lua_State *L) {
  push_hash(L);
  return 1;
}

/* file(path) -> hash | nil, message, code. Never waits for a FIFO. */
static int file_hash(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  struct hash *hash = push_hash(L);
  hash->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  return hash->fd >= 0 ? 1 : fail_errno(L, errno, path);
}

/* sha256(bytes) -> 32 bytes */
static int sha256_of(lua_State *L) {
  size_t size;
  const char *bytes = luaL_checklstring(L, 1, &size);
  struct hash hash = {.fd = -1};
  sha256_begin(&hash.sha256);
  sha256_add(&hash.sha256, bytes, size);
  return push_digest(L, &hash);
}

static const luaL_Reg methods[] = {
    {"add", hash_add},     {"step", hash_step},     {"digest", hash_digest},
    {"close", hash_close}, {"__close", hash_close}, {"__gc", hash_close},
    {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"new", new_hash}, {"file", file_hash}, {"sha256", sha256_of}, {NULL, NULL}};

int luaopen_runner_core_hash(lua_State *L) {
  define_class(L, HASH, methods);
  luaL_newlib(L, functions);
  return 1;
}
