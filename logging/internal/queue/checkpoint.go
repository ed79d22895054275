package queue

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
)

// Progress is how far a segment is done.
type Progress struct {
	// At is the offset before which everything is done but for Held.
	At int64
	// Held holds the offsets before At of events that wait, in order.
	Held []int64
}

// ErrDamaged is returned for a checkpoint that is not as it was written.
var ErrDamaged = errors.New("the checkpoint is damaged; what it stood for is sent again")

// Checkpoint says how much of which segment was received, one line each. It
// is not synced: what a power cut takes of it costs repeats, not events, and
// the removal of a segment is what ends it. A line's checksum is that of what
// precedes it, as an offset that is wrong would skip what was never sent.
type Checkpoint struct{ q Queue }

func progressLine(seq string, p Progress) string {
	var text strings.Builder
	text.WriteString(fmt.Sprintf("%s %020d", seq, p.At))
	for i, off := range p.Held {
		sep := ","
		if i == 0 {
			sep = " "
		}
		text.WriteString(sep + strconv.FormatInt(off, 10))
	}
	return fmt.Sprintf("%s %08x\n", text.String(), crc32.ChecksumIEEE([]byte(text.String())))
}

// Read returns what the checkpoint says, by sequence of segment: nothing if
// there is none. With ErrDamaged it returns the lines that are whole.
func (c Checkpoint) Read() (map[string]Progress, error) {
	data, err := c.q.read(c.Path())
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(data) == 0 {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}

	found := map[string]Progress{}
	for line := range strings.Lines(string(data)) {
		seq, p, ok := parseProgress(line)
		if !ok {
			err = ErrDamaged
			continue
		}
		// What stands behind a shorter text that a kill kept from being cut off
		// is older: the first line of a segment holds.
		if _, twice := found[seq]; !twice {
			found[seq] = p
		}
	}
	return found, err
}

func parseProgress(line string) (seq string, p Progress, ok bool) {
	words := strings.Fields(line)
	if len(words) != 3 && len(words) != 4 {
		return "", Progress{}, false
	}
	var err error
	if p.At, err = strconv.ParseInt(words[1], 10, 64); err != nil || p.At < 0 {
		return "", Progress{}, false
	}

	if len(words) == 4 {
		for text := range strings.SplitSeq(words[2], ",") {
			off, err := strconv.ParseInt(text, 10, 64)
			if err != nil || off < 0 || off >= p.At {
				return "", Progress{}, false
			}
			p.Held = append(p.Held, off)
		}
	}

	return words[0], p, line == progressLine(words[0], p)
}

// Write replaces the checkpoint. It writes over the one that is there, so that a
// full disk has room for it.
func (c Checkpoint) Write(all map[string]Progress) (err error) {
	f, err := c.q.OpenFile(c.Path(), os.O_CREATE|os.O_WRONLY)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()

	var text strings.Builder
	for _, seq := range slices.Sorted(maps.Keys(all)) {
		text.WriteString(progressLine(seq, all[seq]))
	}
	if _, err := f.WriteString(text.String()); err != nil {
		return err
	}

	info, err := f.Stat()
	if err != nil || info.Size() == int64(text.Len()) {
		return err
	}
	return f.Truncate(int64(text.Len()))
}

// Remove removes a checkpoint that is damaged.
func (c Checkpoint) Remove() error { return os.Remove(c.Path()) }

// Path returns the path of the checkpoint.
func (c Checkpoint) Path() string { return c.q.beside(".sent") }
