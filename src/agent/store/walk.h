/* Walks below a folder without following links. */
#ifndef RUNNER_AGENT_WALK_H
#define RUNNER_AGENT_WALK_H

/* The way from a root (not owned) to the folder of the path that was last walked to. */
struct walk {
  int root, parent;
  char *path; /* of parent; NULL: parent is not open */
};

void walk_begin(struct walk *walk, int root);
/* The folder that holds the path, and the path's last part; -1 and errno (ENOTDIR, ELOOP: a part of
 * it is no folder). The descriptor is the walk's, and stays open until the walk goes elsewhere. */
int walk_parent(struct walk *walk, const char *path, const char **name);
void walk_forget(struct walk *walk); /* something in the way may have changed */
void walk_end(struct walk *walk);

#endif
