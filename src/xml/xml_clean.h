/* Makes the bytes of an XML document fit for a strict parser, losing nothing that a report wants to say.
 *
 * In: any bytes, in slices, in the encoding that a byte order mark or the XML declaration names. Out: UTF-8 that holds
 * only characters XML allows, without comments and processing instructions (their line ends stay: lines still count).
 *
 *  - A byte XML forbids (controls such as ESC, invalid UTF-8), raw or as a reference like &#27;, becomes a character of
 *    a range nobody uses, U+10FE00 + byte; clean_restore turns it back into the byte once the parser is through.
 *    Where the document holds such characters itself, their bytes travel the same way.
 *  - An `&` that starts no reference XML defines becomes &amp; so text such as "a & b" or "&nbsp;" stays readable and
 *    no entity is ever expanded. A stray "]]>" in text gets its > escaped.
 *  - What costs libxml2's push parser quadratic time is kept from it: a tag is given out only when it is complete, a
 *    long CDATA section becomes several; attributes of one tag are counted, bytes of one value capped. */
#ifndef RUNNER_XML_CLEAN_H
#define RUNNER_XML_CLEAN_H

#include <stdbool.h>
#include <stddef.h>

#include "xml_encoding.h"

#define CLEAN_SLICE      ENCODING_SLICE
#define CLEAN_ATTRIBUTES 256

struct clean {
  struct encoding encoding;

  /* Tallies for whoever reports what was mended. */
  size_t controls;   /* characters XML forbids */
  size_t invalid;    /* bytes that are not in the document's encoding, but for encoding.invalid */
  size_t ampersands; /* & that started no reference */
  size_t brackets;   /* ]]> in text */
  size_t shortened;  /* attributes longer than value_limit */
  size_t held;       /* bytes of an unfinished tag, kept back until it ends */
  bool marks;        /* some text holds characters for clean_restore */
  bool too_many;     /* a tag has more than CLEAN_ATTRIBUTES attributes: give up */

  /* Private. */
  size_t value_limit;
  int state;
  size_t attributes; /* of the current tag */
  size_t value;      /* bytes of the current attribute's value */
  char quote;
  char *in; /* UTF-8 to look at: at first what the last slice left undecided */
  size_t in_size;
  char *out;
  size_t out_size, out_capacity;
  size_t given;   /* bytes of `out` that the last call returned */
  size_t tag;     /* offset in `out` of the current tag */
  size_t section; /* the same of the current CDATA section's text */
};

/* False: no memory. Either way clean_close must follow; a zeroed struct may be closed. */
bool clean_open(struct clean *clean, size_t value_limit);
void clean_close(struct clean *clean);

/* Takes at most CLEAN_SLICE bytes; the result is valid until the next call. `last`: nothing follows. NULL: no
 * memory. */
const char *clean_feed(struct clean *clean, const char *bytes, size_t size, bool last,
                       size_t *out_size);

/* Undoes the marks in place; returns the new size. */
size_t clean_restore(char *text, size_t size);

#endif
