package diskcache

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/safefile"
)

// A file is a body, then its meta as JSON, then a foot: the checksum and the
// length of the meta, 4 bytes each, and the mark. So it can be written as the
// body comes.
const (
	mark      = "svcache1"
	footBytes = 8 + len(mark)
	maxMeta   = 11 << 20 // scrape takes headers of 10 MiB at most
	suffix    = ".page"
	tmpPrefix = ".tmp-"
	tmpAge    = time.Hour // of a file that nobody writes any more
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged reports a file that is not as it was written.
var errDamaged = errors.New("damaged")

// meta is what is kept of an answer beside its body.
type meta struct {
	Status    int         `json:"status"`
	Header    http.Header `json:"header"`
	Decoded   bool        `json:"decoded,omitempty"`
	Requested time.Time   `json:"requested"`
	Received  time.Time   `json:"received"`
	Vary      []string    `json:"vary,omitempty"`
	Selecting string      `json:"selecting,omitempty"`
	Bytes     int64       `json:"bytes"`
	Sum       uint32      `json:"sum"`
}

// entry is a stored answer.
type entry struct {
	meta

	path string
	body []byte
}

// touch notes that the entry was used.
func (e *entry) touch() {
	now := time.Now()
	_ = os.Chtimes(e.path, now, now) // it may be gone: it is only the order of eviction
}

// discard removes the entry.
func (e *entry) discard() { _ = os.Remove(e.path) } // it may be gone

// response returns the answer. A fresh one says how old it is (RFC 9111 §5.1).
func (e *entry) response(req *http.Request, fresh bool) *http.Response {
	res := &http.Response{
		Status: strconv.Itoa(e.Status) + " " + http.StatusText(e.Status), StatusCode: e.Status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: maps.Clone(e.Header), Uncompressed: e.Decoded,
		ContentLength: int64(len(e.body)), Body: io.NopCloser(bytes.NewReader(e.body)), Request: req,
	}
	if fresh {
		res.Header.Set("Age", strconv.FormatInt(int64(e.age(time.Now())/time.Second), 10))
	}
	return res
}

// nothingStored is the answer to only-if-cached.
func nothingStored(req *http.Request) *http.Response {
	return (&entry{meta: meta{Status: http.StatusGatewayTimeout, Header: http.Header{}}}).response(req, false)
}

// file returns the name of a variant of an address.
func (c *Cache) file(key string, n int) string {
	return filepath.Join(c.dir, key+"-"+strconv.Itoa(n)+suffix)
}

// find returns the newest stored answer that fits a request with this header,
// with its body, or nil.
func (c *Cache) find(key string, header http.Header) *entry {
	var found *entry
	for n := range maxVariants {
		e, err := c.read(c.file(key, n), func(m *meta) bool {
			return m.Selecting == selecting(m.Vary, header) && (found == nil || m.Received.After(found.Received))
		})
		if err == nil && e != nil {
			found = e
		}
	}
	return found
}

// read reads a file if its meta is wanted, else it returns nil. A damaged one
// is removed.
func (c *Cache) read(path string, want func(*meta) bool) (e *entry, err error) {
	file, err := safefile.OpenFile(path, os.O_RDONLY, 0, c.opts.policy())
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			c.log.Warn("stored answer not read", "error", err)
		}
		return nil, err
	}

	defer func() {
		_ = file.Close() // only read
		if errors.Is(err, errDamaged) {
			c.log.Warn("stored answer removed", "error", fmt.Errorf("%s: %w", path, err))
			_ = os.Remove(path) // another may have done so
		}
	}()

	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	e = &entry{path: path}
	if err := e.readMeta(file, info.Size()); err != nil {
		return nil, err
	}

	if !want(&e.meta) {
		return nil, nil
	}
	e.body = make([]byte, e.Bytes)
	if _, err := file.ReadAt(e.body, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}

	if crc32.Checksum(e.body, castagnoli) != e.Sum {
		return nil, fmt.Errorf("%w: wrong checksum of the body", errDamaged)
	}
	return e, nil
}

// readMeta reads the end of a file.
func (e *entry) readMeta(file io.ReaderAt, size int64) error {
	foot := make([]byte, footBytes)
	if size < int64(len(foot)) {
		return fmt.Errorf("%w: cut", errDamaged)
	}
	if _, err := file.ReadAt(foot, size-int64(len(foot))); err != nil {
		return err
	}

	length := int64(binary.BigEndian.Uint32(foot[4:]))
	if string(foot[8:]) != mark || length > maxMeta || length > size-int64(len(foot)) {
		return fmt.Errorf("%w: no foot", errDamaged)
	}
	text := make([]byte, length)
	if _, err := file.ReadAt(text, size-int64(len(foot))-length); err != nil {
		return err
	}

	if crc32.Checksum(text, castagnoli) != binary.BigEndian.Uint32(foot) {
		return fmt.Errorf("%w: wrong checksum of the header", errDamaged)
	}
	if err := json.Unmarshal(text, &e.meta); err != nil {
		return fmt.Errorf("%w: %w", errDamaged, err)
	}
	if e.Bytes != size-int64(len(foot))-length {
		return fmt.Errorf("%w: %d bytes of body, not %d", errDamaged, size-int64(len(foot))-length, e.Bytes)
	}
	return nil
}

// end returns what follows the body.
func (m *meta) end() ([]byte, error) {
	text, err := json.Marshal(m)
	if err != nil {
		return nil, err
	}
	length := uint32(len(text))
	sum := crc32.Checksum(text, castagnoli)
	text = binary.BigEndian.AppendUint32(text, sum)
	text = binary.BigEndian.AppendUint32(text, length)
	return append(text, mark...), nil
}

// slot returns where a new entry goes: in place of the variant that it is, in a
// free place, or in place of the one that was not used for longest.
func (c *Cache) slot(key string, e *entry) string {
	free, oldest := "", ""
	var since time.Time
	for n := range maxVariants {
		path := c.file(key, n)
		same := false
		_, err := c.read(path, func(m *meta) bool {
			same = slices.Equal(m.Vary, e.Vary) && m.Selecting == e.Selecting
			return false
		})
		switch {
		case same:
			return path
		case err != nil && free == "":
			free = path
		}
		if info, err := os.Stat(path); err == nil && (oldest == "" || info.ModTime().Before(since)) {
			oldest, since = path, info.ModTime()
		}
	}

	return cmp.Or(free, oldest, c.file(key, 0))
}

// write replaces the file of an entry whose body is here.
func (c *Cache) write(e *entry) error {
	tmp, err := os.CreateTemp(c.dir, tmpPrefix+"*")
	if err != nil {
		return err
	}
	if _, err := tmp.Write(e.body); err != nil {
		return errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
	}
	return c.commit(tmp, e)
}

// commit completes a file that holds the body, and puts it in its place. It is
// not forced to the disk: what a power cut leaves of it is recognised.
func (c *Cache) commit(tmp *os.File, e *entry) error {
	end, err := e.end()
	if err == nil {
		_, err = tmp.Write(end)
	}

	if err = errors.Join(err, tmp.Close()); err == nil {
		added := e.Bytes + int64(len(end))
		if info, err := os.Stat(e.path); err == nil {
			added -= info.Size()
		}
		c.grow(added)
		err = os.Rename(tmp.Name(), e.path)
	}

	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// remove removes all variants of an address.
func (c *Cache) remove(key string) {
	for n := range maxVariants {
		_ = os.Remove(c.file(key, n)) // most are not there
	}
}

// size is what the folder holds, as far as this process knows.
type size struct {
	mu    sync.Mutex
	bytes int64
}

// grow counts what is about to be added, and makes room for it.
func (c *Cache) grow(added int64) {
	c.size.mu.Lock()
	defer c.size.mu.Unlock()
	if c.size.bytes += added; c.opts.MaxBytes < 0 || c.size.bytes <= c.opts.MaxBytes {
		return
	}
	// What has been removed, and what other processes have written, was not
	// counted: look. A tenth more is freed, so that it is not done for each.
	if err := c.evict(context.Background(), added, c.opts.MaxBytes-c.opts.MaxBytes/10); err != nil {
		c.log.Warn("no room made", "error", err)
	}
}

// sweep counts what is there, and removes what a crash has left.
func (c *Cache) sweep(ctx context.Context) error {
	c.size.mu.Lock()
	defer c.size.mu.Unlock()
	return c.evict(ctx, 0, c.opts.MaxBytes)
}

// evict removes the files that were not used for longest until no more than
// limit is left beside what is added, and counts the rest. c.size.mu is held.
func (c *Cache) evict(ctx context.Context, added, limit int64) error {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo

	total := added
	for _, entry := range entries {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		info, err := entry.Info()
		if err != nil || !info.Mode().IsRegular() {
			continue // removed meanwhile, or not ours
		}
		switch {
		case strings.HasPrefix(info.Name(), tmpPrefix):
			if time.Since(info.ModTime()) > tmpAge {
				_ = os.Remove(filepath.Join(c.dir, info.Name())) // another may have done so
			}
		case isOurs(info.Name()):
			files = append(files, info)
			total += info.Size()
		}
	}

	if limit >= 0 && total > limit {
		slices.SortFunc(files, func(a, b fs.FileInfo) int { return a.ModTime().Compare(b.ModTime()) })
		for _, info := range files {
			if total <= limit {
				break
			}
			if err := os.Remove(filepath.Join(c.dir, info.Name())); err == nil || errors.Is(err, fs.ErrNotExist) {
				total -= info.Size()
			}
		}
	}

	c.size.bytes = total
	return nil
}

// isOurs reports whether a name is of the form that file gives.
func isOurs(name string) bool {
	rest, ok := strings.CutSuffix(name, suffix)
	return ok && len(rest) == 64+2 && rest[64] == '-' && strings.Trim(rest[:64], "0123456789abcdef") == ""
}
