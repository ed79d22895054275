package diskcache

import (
	"errors"
	"hash/crc32"
	"io"
	"net/http"
	"os"
	"sync"
)

// recorder is a body that is stored as it is read. It is stored only if it is
// read to its end without an error.
type recorder struct {
	body   io.ReadCloser
	folder *folder
	entry  *entry
	length int64 // announced, or -1

	mu  sync.Mutex // Close may come in the middle of Read
	tmp *os.File   // nil: over
}

// newRecorder returns the body of res, which goes into the file of e in f.
func newRecorder(f *folder, e *entry, res *http.Response) (*recorder, error) {
	tmp, err := os.CreateTemp(f.dir, tmpPrefix+"*")
	if err != nil {
		return nil, err
	}
	return &recorder{body: res.Body, folder: f, entry: e, length: res.ContentLength, tmp: tmp}, nil
}

// Read reads bytes of the body.
func (r *recorder) Read(p []byte) (int, error) {
	n, err := r.body.Read(p)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.tmp == nil {
		return n, err
	}

	r.entry.Sum = crc32.Update(r.entry.Sum, castagnoli, p[:n])
	r.entry.Bytes += int64(n)
	if _, werr := r.tmp.Write(p[:n]); werr != nil {
		r.drop(werr)
	} else if r.folder.tooLarge(r.entry.Bytes) {
		r.drop(nil)
	} else if errors.Is(err, io.EOF) {
		r.keep()
	} else if err != nil {
		r.drop(nil) // the reader is told
	}

	return n, err
}

// Close ends the body.
func (r *recorder) Close() error {
	r.mu.Lock()
	if r.tmp != nil {
		if r.length >= 0 && r.entry.Bytes == r.length { // whole, though its end was not read
			r.keep()
		} else {
			r.drop(nil)
		}
	}
	r.mu.Unlock()
	return r.body.Close()
}

// keep stores the answer.
func (r *recorder) keep() {
	tmp := r.tmp
	r.tmp = nil
	r.folder.note(r.folder.commit(tmp, r.entry))
}

// drop stores nothing.
func (r *recorder) drop(why error) {
	err := errors.Join(why, r.tmp.Close(), os.Remove(r.tmp.Name()))
	r.tmp = nil
	if err != nil {
		r.folder.note(err)
	}
}
