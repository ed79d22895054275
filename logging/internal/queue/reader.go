package queue

import "os"

// Reader is an open segment. Offsets and sizes are those of the lines, also where
// the file is packed.
type Reader struct {
	*os.File
	text *unpacker // nil where the file is not packed
}

// ReadAt reads the lines from offset at on.
func (r *Reader) ReadAt(p []byte, at int64) (int, error) {
	if r.text != nil {
		return r.text.ReadAt(p, at)
	}
	return r.File.ReadAt(p, at)
}

// Size returns how many bytes of lines there are.
func (r *Reader) Size() (int64, error) {
	if r.text != nil {
		return r.text.size, nil
	}
	info, err := r.Stat()
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// Plain returns the file if it holds the lines as they are, else nil.
func (r *Reader) Plain() *os.File {
	if r.text != nil {
		return nil
	}
	return r.File
}
