/* runner.core.system: makes the few system calls that luv lacks.
 * A lock is a userdata that owns one file descriptor; closing or collecting it releases the lock. */
#include <errno.h>
#include <fcntl.h>
#include <lauxlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bindings.h"
#include "common/glob.h"
#include "fail.h"

#define LOCK "runner.system.lock"

struct lock {
  int fd; /* -1 = closed */
};

/* [-0, +0, v] */
static int lock_close(lua_State *L) {
  struct lock *lock = luaL_checkudata(L, 1, LOCK);
  if (lock->fd >= 0) close(lock->fd);
  lock->fd = -1;
  return 0;
}

/* lock(path) -> lock | nil, message, code. Creates the file; "EAGAIN" when another process holds it. Never waits. */
static int system_lock(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  struct lock *lock = lua_newuserdatauv(L, sizeof *lock, 0);
  lock->fd = -1;
  luaL_setmetatable(L, LOCK);
  lock->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock->fd < 0) return fail_errno(L, errno, path);
  if (flock(lock->fd, LOCK_EX | LOCK_NB) == 0) return 1;
  int err = errno;
  close(lock->fd);
  lock->fd = -1;
  return fail_errno(L, err, path);
}

static lua_Integer nanoseconds(struct timespec t) {
  return (lua_Integer)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* lstat(path) -> type, mode, size, mtime_ns, ctime_ns, inode | nil, message, code. type: "file", "link", "directory",
 * "other"; mode: permissions only. Several values instead of luv's table of tables: thousands of files a run. */
static int system_lstat(lua_State *L) {
  const char *path = luaL_checkstring(L, 1);
  struct stat st;
  if (lstat(path, &st) < 0) return fail_errno(L, errno, path);
  lua_pushstring(L, S_ISREG(st.st_mode)   ? "file"
                    : S_ISLNK(st.st_mode) ? "link"
                    : S_ISDIR(st.st_mode) ? "directory"
                                          : "other");
  lua_pushinteger(L, st.st_mode & 0777);
  lua_pushinteger(L, st.st_size);
  lua_pushinteger(L, nanoseconds(st.st_mtim));
  lua_pushinteger(L, nanoseconds(st.st_ctim));
  lua_pushinteger(L, (lua_Integer)st.st_ino);
  return 6;
}

/* glob(pattern, path) -> boolean: the agent's own patterns, for where no agent runs. */
static int system_glob(lua_State *L) {
  lua_pushboolean(L, glob_matches(luaL_checkstring(L, 1), luaL_checkstring(L, 2)));
  return 1;
}

static const luaL_Reg lock_methods[] = {
    {"close", lock_close}, {"__close", lock_close}, {"__gc", lock_close}, {NULL, NULL}};

static const luaL_Reg functions[] = {
    {"lock", system_lock}, {"lstat", system_lstat}, {"glob", system_glob}, {NULL, NULL}};

int luaopen_runner_core_system(lua_State *L) {
  define_class(L, LOCK, lock_methods);
  luaL_newlib(L, functions);
  return 1;
}
