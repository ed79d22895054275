package notify

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/svcblocks/svcblocks/internal/atomicfile"
	"github.com/svcblocks/svcblocks/internal/safefile"
)

// A journal is a file that starts with journalMagic and goes on with records:
// the length of the payload and its CRC-32C, both 32 bits and little-endian,
// then the payload, a JSON object. Zeros at the end are room for more.
const (
	journalMagic = "notifyj1"
	journalName  = "journal"
	frameHead    = 8
	maxRecord    = 1 << 28
	rewriteAbove = 256 << 10 // a journal that is mostly history is written anew above this size
	// growBy is what a journal grows by, in zeros: to force data to the disk
	// takes two to three times as long when the file has become longer.
	growBy = 128 << 10
	// maxGather is how often the writer of a batch lets other callers go first.
	maxGather = 8
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// appendFrame appends r as a frame.
func appendFrame(buf []byte, r *record) ([]byte, error) {
	payload, err := json.Marshal(r)
	if err != nil {
		return buf, err
	}
	if len(payload) > maxRecord {
		return buf, fmt.Errorf("message takes %d bytes, at most %d can be stored", len(payload), maxRecord)
	}
	buf = binary.LittleEndian.AppendUint32(buf, uint32(len(payload)))
	buf = binary.LittleEndian.AppendUint32(buf, crc32.Checksum(payload, castagnoli))
	return append(buf, payload...), nil
}

// readJournal calls take for each record in data. Damage is stepped over: what
// can be read behind it is read, and the number of bytes skipped is returned.
func readJournal(data []byte, take func(*record)) (skipped int) {
	if len(data) >= len(journalMagic) && string(data[:len(journalMagic)]) == journalMagic {
		data = data[len(journalMagic):]
	}

	data = bytes.TrimRight(data, "\x00") // no record ends so
	for len(data) > 0 {
		r, n := readFrame(data)
		if n == 0 {
			skipped++
			data = data[1:]
			continue
		}
		data = data[n:]
		take(r)
	}

	return skipped
}

// readFrame returns the record at the start of data and its length, or 0.
func readFrame(data []byte) (*record, int) {
	if len(data) <= frameHead || data[frameHead] != '{' {
		return nil, 0
	}
	n := binary.LittleEndian.Uint32(data)
	if n > maxRecord || int64(n) > int64(len(data)-frameHead) {
		return nil, 0
	}

	payload := data[frameHead : frameHead+int(n)]
	if crc32.Checksum(payload, castagnoli) != binary.LittleEndian.Uint32(data[4:]) {
		return nil, 0
	}
	r := new(record)
	if err := json.Unmarshal(payload, r); err != nil {
		return nil, 0
	}
	return r, frameHead + int(n)
}

// journal is the open file of one process. Records that come at the same time
// are written and synced together.
type journal struct {
	path   string
	policy safefile.Policy

	commit sync.Mutex // held while writing
	f      *os.File
	size   int64 // of what is whole in the file
	grown  int64 // of the file: zeros stand behind size
	whole  int64 // size when it was last written anew
	forced int64 // of size: on the disk for sure
	shared bool  // the last batch was that of several callers

	mu   sync.Mutex
	next *batch
}

// batch is what is written at once, by the first who wants it written; the
// others wait for done.
type batch struct {
	data    []byte // guarded by the journal's mu, and by commit once it is taken
	durable int    // records that are to be forced to the disk
	claimed atomic.Bool
	done    chan struct{} // closed when it is written
	err     error
}

func createJournal(path string, policy safefile.Policy) (*journal, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if _, err := f.WriteString(journalMagic); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	if err := f.Sync(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &journal{path: path, policy: policy, f: f, size: int64(len(journalMagic)), grown: int64(len(journalMagic))}, nil
}

// add puts a frame into the batch that is written next.
func (j *journal) add(frame []byte, durable bool) *batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.next == nil {
		j.next = &batch{done: make(chan struct{})}
	}
	j.next.data = append(j.next.data, frame...)
	if durable {
		j.next.durable++
	}
	return j.next
}

// write waits until b is written, writing it unless somebody else does. While
// a batch is written, all that comes joins the next one.
func (j *journal) write(b *batch) error {
	if b.claimed.CompareAndSwap(false, true) {
		j.commit.Lock()
		j.gather(b)
		j.mu.Lock() // b is j.next: batches are taken under commit, in order
		j.next = nil
		j.mu.Unlock()
		b.err = j.writeLocked(b)
		close(b.done) // first, so that the next batch is joined by who waited
		j.commit.Unlock()
	} else {
		<-b.done
	}
	return b.err
}

// gather lets those join b whom the batch before has set free, if several
// callers store at the same time: forcing b to the disk takes longer.
func (j *journal) gather(b *batch) {
	for last, round := 0, 0; round < maxGather; round++ {
		j.mu.Lock()
		n := b.durable
		j.mu.Unlock()
		if n == last || n < 2 && !j.shared {
			return
		}
		last = n
		runtime.Gosched()
	}
}

func (j *journal) writeLocked(b *batch) error {
	if j.f == nil {
		return fs.ErrClosed
	}
	err := j.append(b.data)
	if err == nil && b.durable > 0 {
		err = syncData(j.f)
	}

	if err != nil {
		// A torn record at the end would be dropped by its checksum, but
		// not if a later one is written over a part of it.
		j.cut()
		return err
	}

	j.size += int64(len(b.data))
	if b.durable > 0 {
		j.forced = j.size
	}
	j.shared = b.durable > 1
	b.data = nil
	return nil
}

// append writes data, followed by zeros if the file is to grow and there is
// room for them.
func (j *journal) append(data []byte) error {
	end := j.size + int64(len(data))
	if end > j.grown {
		if _, err := j.f.WriteAt(append(slices.Clip(data), make([]byte, growBy)...), j.size); err == nil {
			j.grown = end + growBy
			return nil
		}
		j.cut()
	}
	_, err := j.f.WriteAt(data, j.size)
	j.grown = max(j.grown, end)
	return err
}

// cut takes away what stands behind the last whole record. Where that fails,
// it stays and is written over.
func (j *journal) cut() {
	if j.f.Truncate(j.size) == nil {
		j.grown = j.size
	}
}

// compact replaces the file by one that holds what waits and was told alone, if
// it is mostly history. To gather that takes longer than many records, so live is
// called only when the file is written anew.
func (j *journal) compact(live func() []*record) error {
	j.commit.Lock()
	defer j.commit.Unlock()
	if j.size <= max(rewriteAbove, 4*j.whole) {
		return nil
	}
	return j.renew(live)
}

// length returns the size of what is whole in the file.
func (j *journal) length() int64 {
	j.commit.Lock()
	defer j.commit.Unlock()
	return j.size
}

// adopted notes that n bytes of the file came from another journal: they are no
// history.
func (j *journal) adopted(n int64) {
	j.commit.Lock()
	defer j.commit.Unlock()
	j.whole += n
}

// renew replaces the file by one that holds what waits and was told. The caller
// holds commit.
func (j *journal) renew(live func() []*record) error {
	if j.f == nil {
		return nil
	}

	var frames []byte
	var err error
	for _, r := range live() {
		if frames, err = appendFrame(frames, r); err != nil {
			return err
		}
	}

	return j.rewrite(frames)
}

// rewrite replaces the file. The caller holds commit, and frames tell all that
// was added so far. When it fails midway, the journal takes nothing more.
func (j *journal) rewrite(frames []byte) error {
	tmp := j.path + ".new"
	if err := writeJournal(tmp, frames, j.policy); err != nil {
		return err
	}

	// Windows renames no open file, nor over one.
	err := j.f.Close()
	j.f = nil
	if err = errors.Join(err, atomicfile.Rename(tmp, j.path), atomicfile.SyncDir(filepath.Dir(j.path))); err != nil {
		return err
	}
	if j.f, err = safefile.OpenFile(j.path, os.O_RDWR, 0, j.policy); err != nil {
		j.f = nil
		return err
	}

	j.size = int64(len(journalMagic) + len(frames))
	j.grown, j.whole, j.forced = j.size, j.size, j.size
	return nil
}

// given reports whether the journal was closed, or given up in the middle of being
// written anew.
func (j *journal) given() bool {
	j.commit.Lock()
	defer j.commit.Unlock()
	return j.f == nil
}

// moved returns why the path does not lead to the open file any more, if it does
// not.
func (j *journal) moved() error {
	j.commit.Lock()
	defer j.commit.Unlock()
	if j.f == nil {
		return nil // closed, or given up
	}

	open, err := j.f.Stat()
	if err != nil {
		return err
	}
	there, err := os.Lstat(j.path)
	if err != nil {
		return err
	}
	if !os.SameFile(open, there) {
		return fmt.Errorf("%s was replaced by another file; a new journal is begun within a minute", j.path)
	}
	return nil
}

// writeJournal writes a new journal whole.
func writeJournal(path string, frames []byte, policy safefile.Policy) error {
	f, err := safefile.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_RDWR, 0, policy)
	if err != nil {
		return err
	}
	_, err = f.Write(append([]byte(journalMagic), frames...))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(path))
	}
	return nil
}

// close writes what was added so far and closes the file.
func (j *journal) close() error {
	j.mu.Lock()
	last := j.next
	j.mu.Unlock()
	var err error
	if last != nil {
		err = j.write(last)
	}

	j.commit.Lock()
	defer j.commit.Unlock()
	if j.f == nil {
		return err
	}
	j.cut()
	err = errors.Join(err, j.f.Sync(), j.f.Close())

	j.f = nil
	return err
}

// readWhole reads a file that a crash may have left in any state, and that may be
// missing.
func readWhole(path string, policy safefile.Policy) ([]byte, error) {
	data, err := safefile.ReadFile(path, policy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return data, err
}
