/* Declares the C modules that a host preloads; each is documented in its own file and in lua/runner/meta. */
#ifndef RUNNER_BINDINGS_H
#define RUNNER_BINDINGS_H

#include <lauxlib.h>
#include <lua.h>

/* [-0, +0, m] Defines a class of userdata: the metatable `name`, which is its own index. */
static inline void define_class(lua_State *L, const char *name, const luaL_Reg *methods) {
  luaL_newmetatable(L, name);
  luaL_setfuncs(L, methods, 0);
  lua_pushvalue(L, -1);
  lua_setfield(L, -2, "__index");
  lua_pop(L, 1);
}

int luaopen_runner_core_hash(lua_State *L);
int luaopen_runner_core_host(lua_State *L);
int luaopen_runner_core_http(lua_State *L);
int luaopen_runner_core_regex(lua_State *L);
int luaopen_runner_core_ssh(lua_State *L);
int luaopen_runner_core_system(lua_State *L);
int luaopen_runner_core_xml(lua_State *L);

#endif
