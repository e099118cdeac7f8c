/* Hosts one lua_State, one libuv loop, luv on that loop and one module searcher, and brings them to an orderly end.
 *
 * Modules come from RUNNER_ROOT on disk when that is set, else from the files embedded in the binary, else from the
 * system's Lua 5.4 folders; the current folder is never searched. */
#include "bindings/bindings.h"

#include <lauxlib.h>
#include <lualib.h>
#include <luv/luv.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "embedded.h"
#include "runner.h"

/* Registry key: the first error raised inside a luv callback. */
#define CALLBACK_ERROR "runner.callback_error"

int luaopen_cjson(lua_State *L); /* lua-cjson ships no header */
int luaopen_cjson_safe(lua_State *L);

struct runner {
  lua_State *L;
  uv_loop_t loop;
};

static const struct embedded_file *find_embedded(const char *path) {
  for (const struct embedded_file *file = embedded_files; file->path != NULL; file++)
    if (strcmp(file->path, path) == 0) return file;
  return NULL;
}

/* [-0, +1|+0, m] Pushes the contents of the repository file `path` and returns 1, or pushes nothing and returns 0. */
static int push_file(lua_State *L, const char *path) {
  const char *root = getenv("RUNNER_ROOT");
  if (root != NULL && *root != '\0') {
    const char *full = lua_pushfstring(L, "%s/%s", root, path); /* [full] */
    FILE *stream = fopen(full, "rbe");
    lua_pop(L, 1);
    if (stream != NULL) {
      /* Read before any Lua allocation can raise: a longjmp must not leak the stream. */
      char *bytes = NULL;
      size_t size = 0;
      if (fseek(stream, 0, SEEK_END) == 0 && ftell(stream) >= 0) {
        size = (size_t)ftell(stream);
        rewind(stream);
        bytes = malloc(size + 1);
        if (bytes != NULL) size = fread(bytes, 1, size, stream);
      }
      fclose(stream);
      if (bytes != NULL) {
        lua_pushlstring(L, bytes, size);
        free(bytes);
        return 1;
      }
    }
  }
  const struct embedded_file *file = find_embedded(path);
  if (file == NULL) return 0;
  lua_pushlstring(L, (const char *)file->bytes, file->size);
  return 1;
}

/* package.searchers entry: "runner.a.b" is lua/runner/a/b.lua or lua/runner/a/b/init.lua; providers.x and
 * frameworks.x lie at the top of the repository. */
static int searcher(lua_State *L) {
  const char *name = luaL_checkstring(L, 1);
  const char *folder;
  if (strcmp(name, "runner") == 0 || strncmp(name, "runner.", 7) == 0)
    folder = "lua/";
  else if (strncmp(name, "providers.", 10) == 0 || strncmp(name, "frameworks.", 11) == 0)
    folder = "";
  else
    return 0;
  static const char *const endings[] = {".lua", "/init.lua"};
  const char *stem = luaL_gsub(L, name, ".", "/"); /* [name, stem] */
  for (size_t i = 0; i < sizeof endings / sizeof *endings; i++) {
    const char *path =
        lua_pushfstring(L, "%s%s%s", folder, stem, endings[i]); /* [name, stem, path] */
    if (push_file(L, path)) {                                   /* [.., path, source] */
      size_t size;
      const char *source = lua_tolstring(L, -1, &size);
      const char *chunk = lua_pushfstring(L, "@%s", path); /* [.., path, source, chunk] */
      if (luaL_loadbufferx(L, source, size, chunk, "t") != LUA_OK) return lua_error(L);
      lua_pushvalue(L, -4); /* [.., path, source, chunk, loader, path] */
      return 2;
    }
    lua_pop(L, 1);
  }
  lua_pushfstring(L, "no embedded module '%s'", name);
  return 1;
}

/* resource(path) -> bytes | nil: a file of the repository that ships inside the binary. */
static int host_resource(lua_State *L) {
  if (!push_file(L, luaL_checkstring(L, 1))) lua_pushnil(L);
  return 1;
}

/* callback_error() -> error | nil: the error that stopped the loop, once. */
static int host_callback_error(lua_State *L) {
  lua_getfield(L, LUA_REGISTRYINDEX, CALLBACK_ERROR);
  lua_pushnil(L);
  lua_setfield(L, LUA_REGISTRYINDEX, CALLBACK_ERROR);
  return 1;
}

int luaopen_runner_core_host(lua_State *L) {
  static const luaL_Reg functions[] = {
      {"resource", host_resource}, {"callback_error", host_callback_error}, {NULL, NULL}};
  luaL_newlib(L, functions);
  lua_pushliteral(L, RUNNER_VERSION);
  lua_setfield(L, -2, "version");
#ifdef NDEBUG
  lua_pushboolean(L, 0);
#else
  lua_pushboolean(L, 1);
#endif
  lua_setfield(L, -2, "debug");
  return 1;
}

/* Message handler: strings gain a traceback, error objects travel unchanged. */
static int traceback(lua_State *L) {
  if (lua_type(L, 1) == LUA_TSTRING) luaL_traceback(L, L, lua_tostring(L, 1), 1);
  return 1;
}

/* Every luv callback runs through here. An error keeps the process alive: it is kept for task.main, which raises it,
 * and the loop stops. [-(nargs+1), +nresults|0] */
static int call_from_loop(lua_State *L, int nargs, int nresults, int flags) {
  (void)flags;
  int base = lua_gettop(L) - nargs; /* index of the function */
  lua_pushcfunction(L, traceback);
  lua_insert(L, base); /* [.., traceback, function, args..] */
  int status = lua_pcall(L, nargs, nresults, base);
  lua_remove(L, base);
  if (status == LUA_OK) return nresults == LUA_MULTRET ? lua_gettop(L) - base + 1 : nresults;
  lua_getfield(L, LUA_REGISTRYINDEX, CALLBACK_ERROR); /* [.., error, earlier] */
  bool first = lua_isnil(L, -1);
  lua_pop(L, 1);
  if (first)
    lua_setfield(L, LUA_REGISTRYINDEX, CALLBACK_ERROR);
  else
    lua_pop(L, 1);
  uv_stop(luv_loop(L));
  return -status;
}

/* Drops the entries of package.path or .cpath that start at the current folder. [-0, +0, m] */
static void clean_path(lua_State *L, const char *field) {
  lua_getglobal(L, "package");
  lua_getfield(L, -1, field); /* [package, old] */
  luaL_Buffer clean;
  const char *entry = lua_tostring(L, -1);
  luaL_buffinit(L, &clean);
  while (entry != NULL && *entry != '\0') {
    const char *end = strchr(entry, ';');
    size_t size = end != NULL ? (size_t)(end - entry) : strlen(entry);
    if (size > 0 && *entry == '/') {
      if (luaL_bufflen(&clean) > 0) luaL_addchar(&clean, ';');
      luaL_addlstring(&clean, entry, size);
    }
    entry += size + (end != NULL);
  }
  luaL_pushresult(&clean); /* [package, old, clean] */
  lua_setfield(L, -3, field);
  lua_pop(L, 2);
}

/* Runs protected: whatever raises here reaches runner_open. Argument 1: the loop as light userdata. */
static int open_libraries(lua_State *L) {
  uv_loop_t *loop = lua_touserdata(L, 1);
  lua_pushboolean(L, 1); /* LUA_PATH and friends do not change what we run */
  lua_setfield(L, LUA_REGISTRYINDEX, "LUA_NOENV");
  luaL_openlibs(L);
  clean_path(L, "path");
  clean_path(L, "cpath");

  luv_set_loop(L, loop);
  luv_set_callback(L, call_from_loop);
  static const luaL_Reg modules[] = {{"luv", luaopen_luv},
                                     {"cjson", luaopen_cjson},
                                     {"cjson.safe", luaopen_cjson_safe},
                                     {"runner.core.hash", luaopen_runner_core_hash},
                                     {"runner.core.host", luaopen_runner_core_host},
                                     {"runner.core.http", luaopen_runner_core_http},
                                     {"runner.core.regex", luaopen_runner_core_regex},
                                     {"runner.core.ssh", luaopen_runner_core_ssh},
                                     {"runner.core.system", luaopen_runner_core_system},
                                     {"runner.core.xml", luaopen_runner_core_xml},
                                     {NULL, NULL}};
  luaL_getsubtable(L, LUA_REGISTRYINDEX, LUA_PRELOAD_TABLE);
  for (const luaL_Reg *module = modules; module->name != NULL; module++) {
    lua_pushcfunction(L, module->func);
    lua_setfield(L, -2, module->name);
  }

  lua_getglobal(L, "package");
  lua_getfield(L, -1, "searchers"); /* [.., package, searchers] */
  lua_Integer count = luaL_len(L, -1);
  for (lua_Integer i = count; i >= 2; i--) { /* make room after the preload searcher */
    lua_geti(L, -1, i);
    lua_seti(L, -2, i + 1);
  }
  lua_pushcfunction(L, searcher);
  lua_seti(L, -2, 2);
  return 0;
}

struct runner *runner_open(void) {
  signal(SIGPIPE, SIG_IGN);
  struct runner *host = calloc(1, sizeof *host);
  if (host == NULL) return NULL;
  if (uv_loop_init(&host->loop) != 0) {
    free(host);
    return NULL;
  }
  host->L = luaL_newstate();
  if (host->L != NULL) {
    lua_pushcfunction(host->L, open_libraries);
    lua_pushlightuserdata(host->L, &host->loop);
    if (lua_pcall(host->L, 1, 0, 0) == LUA_OK) return host;
    fprintf(stderr, "runner: cannot start: %s\n", lua_tostring(host->L, -1));
  }
  runner_close(host);
  return NULL;
}

lua_State *runner_state(struct runner *host) { return host->L; }

/* Protected body of runner_main: require("runner.main")(argv...) -> status. */
static int call_main(lua_State *L) {
  int nargs = lua_gettop(L);
  lua_getglobal(L, "require");
  lua_pushliteral(L, "runner.main");
  lua_call(L, 1, 1);
  lua_insert(L, 1);
  lua_call(L, nargs, 1);
  return 1;
}

int runner_main(struct runner *host, int argc, char **argv) {
  lua_State *L = host->L;
  lua_settop(L, 0);
  lua_pushcfunction(L, traceback);
  lua_pushcfunction(L, call_main);
  luaL_checkstack(L, argc + 8, "too many arguments");
  for (int i = 1; i < argc; i++) lua_pushstring(L, argv[i]);
  int status = 70;
  if (lua_pcall(L, argc > 0 ? argc - 1 : 0, 1, 1) == LUA_OK)
    status = (int)lua_tointeger(L, -1);
  else
    fprintf(stderr, "runner: internal error: %s\n", luaL_tolstring(L, -1, NULL));
  lua_settop(L, 0);
  return status;
}

void runner_close(struct runner *host) {
  if (host->L != NULL) lua_close(host->L);
  uv_run(&host->loop, UV_RUN_NOWAIT); /* handles that were closing finish here */
  uv_loop_close(&host->loop);
  free(host);
}
