/* Turns bytes of XML into a queue of records: libxml2's push parser without Lua. bindings/xml.c makes Lua values of
 * them.
 *
 * The parser owns everything it points to; names in records belong to its dictionary and live as long as it does. */
#ifndef RUNNER_XML_PARSE_H
#define RUNNER_XML_PARSE_H

#include <libxml/parser.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "xml_clean.h"

#define PARSE_WHOLE_MAX 16   /* names of elements to be kept whole */
#define PARSE_DEPTH_MAX 1000 /* of depth_limit */

enum record_kind { RECORD_START, RECORD_END, RECORD_TEXT };

/* Followed by `size` bytes (TEXT) or `size` attributes (START). */
struct record {
  uint32_t kind;
  uint32_t index; /* among its parent's children (END: as its START); 0: not in a whole element */
  uint32_t size;  /* END of a whole element: what was left out of it, bytes and elements */
  uint32_t children; /* START inside or at the top of a whole element that has ended */
  const xmlChar *prefix, *name;
};

struct attribute { /* followed by `size` bytes */
  const xmlChar *prefix, *name;
  size_t size;
};

struct parse_options {
  size_t text_limit;    /* bytes of one text, or of one attribute's value */
  size_t element_limit; /* bytes of one whole element */
  size_t depth_limit;
};

struct level;

struct parse {
  struct clean clean;
  const char *code; /* what ended the parse; NULL: nothing yet, or all is well */
  int line;
  char message[320];
  bool done; /* no more records will come */

  /* Records lie at queue[queue_at .. parse_ready()); the reader moves queue_at past what it has taken. */
  char *queue;
  size_t queue_at, queue_size;
  size_t whole_depth; /* depth of the whole element being collected; 0: none */

  /* Private. */
  xmlParserCtxtPtr parser; /* NULL: closed */
  struct parse_options options;
  const xmlChar *whole[PARSE_WHOLE_MAX];
  size_t whole_count;
  size_t queue_capacity;
  struct level *levels; /* of the document and of each open element: depth_limit + 1 */
  size_t depth;
  size_t skip_depth; /* depth of the element being left out of the whole one; 0: none */
  size_t left_out;   /* bytes and elements left out of the whole element */
  size_t text;       /* offset of the open TEXT record */
  size_t text_total; /* its bytes, kept or not */
  bool text_open, text_blank;
  bool root_seen;
  bool last;       /* the parser knows that no more bytes follow */
  size_t consumed; /* bytes fed in all */
};

/* False: no memory. Either way parse_close must follow; a zeroed struct may be closed. */
bool parse_open(struct parse *parse, const struct parse_options *options);
void parse_close(struct parse *parse);

/* Elements of this name will be ready only when they have ended. False: too many names, or no memory. */
bool parse_keep_whole(struct parse *parse, const char *name);
bool parse_is_whole(const struct parse *parse, const xmlChar *name);

/* At most CLEAN_SLICE bytes. Forgets the records before queue_at. */
void parse_feed(struct parse *parse, const char *bytes, size_t size, bool last);

/* Offset up to which records are finished: an open text or whole element is not. */
size_t parse_ready(const struct parse *parse);

/* After the end: the whole element that was being collected, from queue_at to queue_size. False: there is none. */
bool parse_unfinished(struct parse *parse);

#endif
