package diskcache

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
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

// folder holds the files.
type folder struct {
	dir  string
	opts Options
	log  *slog.Logger

	mu    sync.Mutex
	bytes int64 // what it holds, as far as this process knows
	fault error // why the last answer was not stored; nil: it was
}

// note remembers whether an answer could be stored. The beginning of a trouble
// and its end are logged.
func (f *folder) note(err error) {
	f.mu.Lock()
	changed := (err == nil) != (f.fault == nil)
	f.fault = err
	f.mu.Unlock()

	switch {
	case !changed:
	case err != nil:
		f.log.Warn("answers not kept", "error", err)
	default:
		f.log.Info("answers kept again")
	}
}

// check returns why the last answer was not stored. As another one may not come
// soon, it finds out whether one could be.
func (f *folder) check() error {
	f.mu.Lock()
	fault := f.fault
	f.mu.Unlock()
	if fault == nil {
		return nil
	}

	fault = f.try()
	f.note(fault)
	return fault
}

// try stores a page, and removes it.
func (f *folder) try() error {
	tmp, err := os.CreateTemp(f.dir, tmpPrefix+"*")
	if err != nil {
		return err
	}
	_, err = tmp.Write(make([]byte, 64<<10)) // more than most pages are
	return errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
}

// file returns the name of a variant of an address.
func (f *folder) file(key string, n int) string {
	return filepath.Join(f.dir, key+"-"+strconv.Itoa(n)+suffix)
}

// find returns the newest stored answer that fits a request with this header,
// with its body, or nil.
func (f *folder) find(key string, header http.Header) *entry {
	var found *entry
	for n := range maxVariants {
		e, err := f.read(f.file(key, n), func(m *meta) bool {
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
func (f *folder) read(path string, want func(*meta) bool) (e *entry, err error) {
	file, err := safefile.OpenFile(path, os.O_RDONLY, 0, f.opts.policy())
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			f.log.Warn("stored answer not read", "error", err)
		}
		return nil, err
	}
	defer func() {
		_ = file.Close() // only read
		if errors.Is(err, errDamaged) {
			f.log.Warn("stored answer removed", "error", fmt.Errorf("%s: %w", path, err))
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

// slot returns where a new entry goes: in place of the variant that it is, in a
// free place, or in place of the one that was not used for longest.
func (f *folder) slot(key string, e *entry) string {
	free, oldest := "", ""
	var since time.Time
	for n := range maxVariants {
		path := f.file(key, n)
		same := false
		_, err := f.read(path, func(m *meta) bool {
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

	return cmp.Or(free, oldest, f.file(key, 0))
}

// write replaces the file of an entry whose body is here.
func (f *folder) write(e *entry) error {
	tmp, err := os.CreateTemp(f.dir, tmpPrefix+"*")
	if err != nil {
		return err
	}
	if _, err := tmp.Write(e.body); err != nil {
		return errors.Join(err, tmp.Close(), os.Remove(tmp.Name()))
	}
	return f.commit(tmp, e)
}

// commit completes a file that holds the body, and puts it in its place. It is
// not forced to the disk: what a power cut leaves of it is recognised.
func (f *folder) commit(tmp *os.File, e *entry) error {
	end, err := e.end()
	if err == nil {
		_, err = tmp.Write(end)
	}

	if err = errors.Join(err, tmp.Close()); err == nil {
		added := e.Bytes + int64(len(end))
		if info, err := os.Stat(e.path); err == nil {
			added -= info.Size()
		}
		f.grow(added)
		err = atomicfile.Rename(tmp.Name(), e.path)
	}

	if err != nil {
		return errors.Join(err, os.Remove(tmp.Name()))
	}
	return nil
}

// remove removes all variants of an address.
func (f *folder) remove(key string) {
	for n := range maxVariants {
		_ = os.Remove(f.file(key, n)) // most are not there
	}
}

// grow counts what is about to be added, and makes room for it.
func (f *folder) grow(added int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.bytes += added; f.opts.MaxBytes < 0 || f.bytes <= f.opts.MaxBytes {
		return
	}
	// What has been removed, and what other processes have written, was not
	// counted: look. A tenth more is freed, so that it is not done for each.
	if err := f.evict(context.Background(), added, f.opts.MaxBytes-f.opts.MaxBytes/10); err != nil {
		f.log.Warn("no room made", "error", err)
	}
}

// sweep counts what is there, and removes what a crash has left.
func (f *folder) sweep(ctx context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.evict(ctx, 0, f.opts.MaxBytes)
}

// evict removes the files that were not used for longest until no more than
// limit is left beside what is added, and counts the rest. f.mu is held.
func (f *folder) evict(ctx context.Context, added, limit int64) error {
	entries, err := os.ReadDir(f.dir)
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
				_ = os.Remove(filepath.Join(f.dir, info.Name())) // another may have done so
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
			if err := os.Remove(filepath.Join(f.dir, info.Name())); err == nil || errors.Is(err, fs.ErrNotExist) {
				total -= info.Size()
			}
		}
	}

	f.bytes = total
	return nil
}

// isOurs reports whether a name is of the form that file gives.
func isOurs(name string) bool {
	rest, ok := strings.CutSuffix(name, suffix)
	return ok && len(rest) == 64+2 && rest[64] == '-' && strings.Trim(rest[:64], "0123456789abcdef") == ""
}

// tooLarge reports whether a body is not stored for its length.
func (f *folder) tooLarge(length int64) bool {
	return f.opts.MaxBytes > 0 && length > f.opts.MaxBytes/4
}
