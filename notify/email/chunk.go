package email

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/svcblocks/svcblocks/notify"
)

const (
	// maxEager is the largest mail that goes out before its recipients are
	// accepted: a round trip is not worth more.
	maxEager = 64 << 10
	// trustFor is how long after the last reply a connection is trusted with a
	// whole mail at once.
	trustFor = time.Second
)

// chunks returns the content as BDAT commands (RFC 3030 §2), or none if it is
// to go by DATA. One of them goes out with the envelope: that saves a round
// trip, and a connection which breaks then leaves open whether the mail was
// taken. So there are two unless the connection was in use just now. The first
// holds one line of the header alone: a server that offers CHUNKING and has no
// BDAT takes it for a command, which must not be any of the text.
func (c *conn) chunks(e *envelope) []string {
	if !c.ext.chunking || !c.ext.pipelining || !inLines(e.content) {
		return nil
	}
	if c.proven && len(e.content) <= maxEager && time.Since(c.used) < c.trust && c.quiet() {
		return []string{chunk(e.content, " LAST")}
	}
	line := bytes.IndexByte(e.content, '\n') + 1
	return []string{chunk(e.content[:line], ""), chunk(e.content[line:], " LAST")}
}

func chunk(content []byte, last string) string {
	return fmt.Sprintf("BDAT %d%s\r\n%s", len(content), last, content)
}

// inLines reports whether content consists of lines that end in CRLF, as BDAT
// demands of what is not BINARYMIME; DATA makes them so.
func inLines(content []byte) bool {
	n := bytes.Count(content, []byte("\r\n"))
	return n > 0 && bytes.HasSuffix(content, []byte("\r\n")) && n == bytes.Count(content, []byte("\n")) && n == bytes.Count(content, []byte("\r"))
}

// quiet reports whether the server has said nothing since its last reply and
// keeps the connection open, as far as that is known here.
func (c *conn) quiet() bool { return c.text().R.Buffered() == 0 && nothingToRead(c.raw) }

// unchunked is the outcome when BDAT is refused, by a server that may not know
// it: that one has taken the content for commands, and is no use any more.
func unchunked(f *notify.Error) outcome {
	unknown := slices.Contains([]int{500, 501, 502, 503, 504, 555}, f.Code)
	return outcome{err: f, broken: unknown, unchunked: unknown}
}
