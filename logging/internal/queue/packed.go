package queue

import (
	"bytes"
	"compress/flate"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"sort"
	"sync"
)

// A packed segment is a gzip file of several members, so that zcat reads it. Each
// member holds packedBytes of the lines, and says in its header how long it and
// its text are, so that a reader can begin anywhere.

const (
	packedBytes = 256 << 10
	// memberHeader is the fixed part of a member's header (RFC 1952 §2.3.1): with
	// an extra field "ls" of two numbers.
	memberHeader  = 24
	memberTrailer = 8
)

var memberStart = []byte{0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 12, 0, 'l', 's', 8, 0}

// errPacked is returned for a packed segment that is not as it was written.
var errPacked = errors.New("the compressed segment is damaged")

// pack writes what r holds to w.
func pack(w io.Writer, r io.Reader) error {
	var text bytes.Buffer
	var out bytes.Buffer
	deflate, err := flate.NewWriter(&out, flate.BestSpeed)
	if err != nil {
		return err
	}

	for {
		text.Reset()
		if _, err := io.CopyN(&text, r, packedBytes); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		if text.Len() == 0 {
			return nil
		}

		out.Reset()
		out.Write(make([]byte, memberHeader))
		deflate.Reset(&out)
		if _, err := deflate.Write(text.Bytes()); err != nil {
			return err
		}
		if err := deflate.Close(); err != nil {
			return err
		}

		size := uint32(text.Len()) //nolint:gosec // at most packedBytes
		trailer := binary.LittleEndian.AppendUint32(nil, crc32.ChecksumIEEE(text.Bytes()))
		out.Write(binary.LittleEndian.AppendUint32(trailer, size))
		header := out.Bytes()[:copy(out.Bytes(), memberStart)]
		header = binary.LittleEndian.AppendUint32(header, uint32(out.Len())) //nolint:gosec // little more than that
		binary.LittleEndian.AppendUint32(header, size)
		if _, err := w.Write(out.Bytes()); err != nil {
			return err
		}
	}
}

// member is a piece of a packed segment.
type member struct {
	at, size int64 // in the file
	text     int64 // where its text begins
	length   int64 // of its text
}

// unpacker reads the text of a packed segment. It is safe for concurrent use.
type unpacker struct {
	f       *os.File
	members []member
	size    int64 // of the text

	mu      sync.Mutex
	current int // whose text is in data; -1: none
	data    []byte
}

// newUnpacker looks where in f the members are.
func newUnpacker(f *os.File) (*unpacker, error) {
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}

	u := &unpacker{f: f, current: -1}
	var header [memberHeader]byte
	for at := int64(0); at < info.Size(); {
		if _, err := f.ReadAt(header[:], at); err != nil {
			return nil, fmt.Errorf("%w: %w", errPacked, err)
		}
		m := member{
			at: at, size: int64(binary.LittleEndian.Uint32(header[16:])),
			text: u.size, length: int64(binary.LittleEndian.Uint32(header[20:])),
		}

		if !bytes.HasPrefix(header[:], memberStart) || m.size < memberHeader+memberTrailer || m.size > info.Size()-at || m.length < 1 || m.length > packedBytes {
			return nil, errPacked
		}

		u.members = append(u.members, m)
		at += m.size
		u.size += m.length
	}
	return u, nil
}

// ReadAt reads the text from offset at on.
func (u *unpacker) ReadAt(p []byte, at int64) (n int, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()

	for n < len(p) {
		if at >= u.size {
			return n, io.EOF
		}
		i := sort.Search(len(u.members), func(i int) bool { return u.members[i].text > at }) - 1
		if err := u.load(i); err != nil {
			return n, err
		}
		m := copy(p[n:], u.data[at-u.members[i].text:])
		n += m
		at += int64(m)
	}
	return n, nil
}

// load puts the text of member i into data.
func (u *unpacker) load(i int) error {
	if u.current == i {
		return nil
	}

	m := u.members[i]
	u.current = -1 // as long as data holds no whole member
	body := io.NewSectionReader(u.f, m.at+memberHeader, m.size-memberHeader-memberTrailer)
	r := flate.NewReader(body)
	u.data = append(u.data[:0], make([]byte, m.length)...)
	if _, err := io.ReadFull(r, u.data); err != nil {
		return fmt.Errorf("%w: %w", errPacked, err)
	}

	var trailer [memberTrailer]byte
	if _, err := u.f.ReadAt(trailer[:], m.at+m.size-memberTrailer); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(trailer[:]) != crc32.ChecksumIEEE(u.data) {
		return errPacked
	}
	u.current = i
	return r.Close()
}
