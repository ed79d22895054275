package history

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/svcblocks/svcblocks/examples/internal/extract"
	causes "github.com/svcblocks/svcblocks/internal/health"
	"github.com/svcblocks/svcblocks/internal/safefile"
)

// ErrLocked says that another process has the file open.
var ErrLocked = errors.New("another process is using it")

// ErrReplaced says that another file stands where the open one was.
var ErrReplaced = errors.New("the file was replaced by another one")

// Options are a store's settings. The zero value is all defaults.
type Options struct {
	// MaxRuns is how many runs are kept. Defaults to 1000.
	MaxRuns int
	// MaxPoints is how many prices are kept per item. Defaults to 1000.
	MaxPoints int
	// KeepGone is how long an item that left the site is kept. Defaults to
	// 90 days.
	KeepGone time.Duration
	// GoneAfter is how many complete runs in a row must miss an item before
	// it counts as gone. Defaults to 1.
	GoneAfter int
	// LockTimeout is how long Open waits for another process to let go of the
	// file. Defaults to 2s.
	LockTimeout time.Duration
	// Shared takes a file that another user owns, or that everybody may write.
	Shared bool
}

var (
	bucketItems   = []byte("items")
	bucketPoints  = []byte("points")
	bucketRuns    = []byte("runs")
	bucketChanges = []byte("changes")
	bucketNotices = []byte("notices")
	bucketLogouts = []byte("logouts")
	bucketChecks  = []byte("checks") // the time of the last write that only tried whether one succeeds
)

// tryAfter is how old the last write may be before Check makes one.
const tryAfter = 30 * time.Second

// Store is an open history file. It is safe for concurrent use.
type Store struct {
	db   *bbolt.DB
	path string
	opts Options
	file fs.FileInfo // as opened

	mu      sync.Mutex
	written time.Time // when the file last took a write
	failed  error     // why it did not take the last one
}

// Open opens the file at path, makes it and its folder if they are not there,
// and ends the runs of a process that died. The error names what to do.
func Open(path string, opts Options) (*Store, error) {
	opts.MaxRuns = cmp.Or(opts.MaxRuns, 1000)
	opts.MaxPoints = cmp.Or(opts.MaxPoints, 1000)
	opts.KeepGone = cmp.Or(opts.KeepGone, 90*24*time.Hour)
	opts.GoneAfter = cmp.Or(opts.GoneAfter, 1)
	opts.LockTimeout = cmp.Or(opts.LockTimeout, 2*time.Second)

	s := &Store{path: path, opts: opts}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("history: open %s: %w (%s)", path, err, advice(err, "make the folder, or set data_dir to one that the service may write"))
	}
	db, err := openSound(path, &bbolt.Options{Timeout: opts.LockTimeout, OpenFile: s.open})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return nil, fmt.Errorf("history: open %s: %w (end it, or give this one a data_dir of its own)", path, ErrLocked)
	case err != nil && causes.Advice(err) == "" && !errors.Is(err, fs.ErrExist):
		return nil, fmt.Errorf("history: open %s: %w (move the file away to begin a new history, or restore it from a backup)", path, err)
	case err != nil:
		return nil, fmt.Errorf("history: open %s: %w (%s)", path, err, advice(err, "set data_dir to a folder that the service may write"))
	}

	s.db = db
	err = s.update(func(tx *bbolt.Tx) error {
		for _, name := range [][]byte{bucketItems, bucketPoints, bucketRuns, bucketChanges, bucketNotices, bucketLogouts, bucketChecks} {
			if _, err := tx.CreateBucketIfNotExists(name); err != nil {
				return err
			}
		}
		return s.endDead(tx)
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("history: open %s: %w", path, err), db.Close())
	}
	return s, nil
}

// Close closes the file. It waits for calls under way and is idempotent.
func (s *Store) Close() error { return s.db.Close() }

// advice says what to do about an error of the system, and which setting has to
// do with it.
func advice(err error, setting string) string {
	if cause := causes.Advice(err); cause != "" {
		return cause + "; " + setting
	}
	return setting
}

// open opens the file for bbolt, and remembers which one it is.
func (s *Store) open(path string, flag int, perm fs.FileMode) (*os.File, error) {
	f, err := safefile.OpenFile(path, flag, perm, safefile.Policy{Shared: s.opts.Shared, OptOut: "data_shared"})
	if err != nil {
		return nil, err
	}
	if s.file, err = f.Stat(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// update changes the file, and notes whether it took that.
func (s *Store) update(change func(tx *bbolt.Tx) error) error {
	var unwanted error
	err := s.db.Update(func(tx *bbolt.Tx) error {
		unwanted = change(tx)
		return unwanted
	})
	if unwanted != nil {
		return err
	}

	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed = err; err == nil {
		s.written = time.Now()
	}
	return err
}

// Check says whether what is stored will be there at the next start: the open
// file still stands at its path, and it took its last write. Where that was
// long ago or failed, Check makes one.
func (s *Store) Check(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	switch now, err := os.Stat(s.path); {
	case err != nil:
		return fmt.Errorf("history: check: %w", err)
	case !os.SameFile(now, s.file):
		return fmt.Errorf("history: check: %s: %w", s.path, ErrReplaced)
	}

	s.mu.Lock()
	sound := s.failed == nil && time.Since(s.written) < tryAfter
	s.mu.Unlock()
	if sound {
		return s.db.View(func(*bbolt.Tx) error { return nil })
	}
	err := s.update(func(tx *bbolt.Tx) error { return put(tx.Bucket(bucketChecks), []byte("last"), time.Now().UTC()) })
	if err != nil {
		return fmt.Errorf("history: check: %w", err)
	}
	return nil
}

// endDead ends the runs that are still marked as running: nobody is at them,
// as the file has one owner, and the owner one run at a time.
func (s *Store) endDead(tx *bbolt.Tx) error {
	c := tx.Bucket(bucketRuns).Cursor()
	var dead []Run
	for k, v := c.Last(); k != nil; k, v = c.Prev() {
		var r Run
		if err := json.Unmarshal(v, &r); err != nil {
			return fmt.Errorf("run %d: %w", binary.BigEndian.Uint64(k), err)
		}
		// Runs end in the order in which they begin.
		if r.Status != Running {
			break
		}
		dead = append(dead, r)
	}

	slices.Reverse(dead)
	for _, r := range dead {
		r.Status, r.Finished = Interrupted, time.Now().UTC()
		if r.Error == "" {
			r.Error = "the service ended before the run did"
		}
		if err := s.end(tx, r); err != nil {
			return err
		}
	}

	return nil
}

// Begin records the start of a run, and ends one that could not be ended
// because the disk was full.
func (s *Store) Begin(trigger string) (Run, error) {
	run := Run{Trigger: trigger, Status: Running, Started: time.Now().UTC()}
	err := s.update(func(tx *bbolt.Tx) error {
		if err := s.endDead(tx); err != nil {
			return err
		}

		b := tx.Bucket(bucketRuns)
		id, err := b.NextSequence()
		if err != nil {
			return err
		}
		run.ID = id
		return put(b, number(id), run)
	})
	if err != nil {
		return Run{}, fmt.Errorf("history: begin run: %w", err)
	}
	return run, nil
}

// Page is what a run got from one page.
type Page struct {
	URL      *url.URL // its address; nil where there are no Items
	Items    []extract.Item
	Problems int
	Bytes    int64
	Err      error // the page could not be fetched or read
}

// Put stores one page of a run and returns the run as it then stands, and what
// changed. Pages of one run may be put concurrently.
func (s *Store) Put(id uint64, page Page) (run Run, changes []Change, err error) {
	err = s.update(func(tx *bbolt.Tx) error {
		changes = nil
		if run, err = s.load(tx, id); err != nil {
			return err
		}
		if run.Status != Running {
			return fmt.Errorf("run is %s", run.Status)
		}

		now := time.Now().UTC()
		if page.Err != nil {
			run.Failures++
			run.Error = cmp.Or(run.Error, page.Err.Error())
		} else {
			run.Pages++
		}

		run.Items += len(page.Items)
		run.Problems += page.Problems
		run.Bytes += page.Bytes

		for _, item := range page.Items {
			change, isNew, err := s.see(tx, run.ID, page.URL, item, now)
			if err != nil {
				return fmt.Errorf("item %s: %w", item.URL, err)
			}
			if isNew {
				run.New++
			}
			if change != nil {
				if change.Kind == PriceChanged {
					run.Changed++
				}
				changes = append(changes, *change)
				if err := addChange(tx, *change); err != nil {
					return err
				}
			}
		}

		return put(tx.Bucket(bucketRuns), number(id), run)
	})
	if err != nil {
		return Run{}, nil, fmt.Errorf("history: put page of run %d: %w", id, err)
	}
	return run, changes, nil
}

// see records that item is on the site.
func (s *Store) see(tx *bbolt.Tx, run uint64, page *url.URL, item extract.Item, now time.Time) (change *Change, isNew bool, err error) {
	items := tx.Bucket(bucketItems)
	key := itemKey(item.Key(page))
	rec := itemRecord{FirstSeen: now}

	old := items.Get(key)
	if old != nil {
		if err := json.Unmarshal(old, &rec); err != nil {
			return nil, false, err
		}
	}

	switch {
	case old == nil:
	case !rec.Gone.IsZero():
		change = &Change{Kind: ItemBack, Old: rec.Price}
	case rec.Price != item.Price:
		change = &Change{Kind: PriceChanged, Old: rec.Price}
	}

	if change != nil {
		change.Run, change.Time, change.Name, change.URL, change.New = run, now, item.Name, item.URL, item.Price
	}

	if old == nil || rec.Price != item.Price {
		if err := s.addPoint(tx, key, &rec, Point{Time: now, Price: item.Price}); err != nil {
			return nil, false, err
		}
	}

	rec.Item, rec.LastSeen, rec.LastRun, rec.Missed, rec.Gone = item, now, run, 0, time.Time{}
	return change, old == nil, put(items, key, rec)
}

func (s *Store) addPoint(tx *bbolt.Tx, key []byte, rec *itemRecord, p Point) error {
	points := tx.Bucket(bucketPoints)
	if err := points.Put(pointKey(key, p.Time), pointValue(p.Price)); err != nil {
		return err
	}
	rec.Points++
	c := points.Cursor()
	prefix := pointPrefix(key)
	for k, _ := c.Seek(prefix); rec.Points > s.opts.MaxPoints && bytes.HasPrefix(k, prefix); k, _ = c.Seek(prefix) {
		if err := c.Delete(); err != nil {
			return err
		}
		rec.Points--
	}
	return nil
}

// Finish ends a run with status, and reason where it is not OK. For an OK run
// it looks which items are gone. The notices that the run owes are in
// [Store.Pending] from here on.
func (s *Store) Finish(id uint64, status Status, reason error) (run Run, gone []Change, err error) {
	err = s.update(func(tx *bbolt.Tx) error {
		gone = nil
		if run, err = s.load(tx, id); err != nil {
			return err
		}
		if run.Status != Running {
			return fmt.Errorf("run is %s", run.Status)
		}

		run.Status, run.Finished = status, time.Now().UTC()
		if reason != nil {
			run.Error = reason.Error()
		}

		if status == OK {
			if gone, err = s.missing(tx, run); err != nil {
				return err
			}
			run.Gone = len(gone)
		}

		return s.end(tx, run)
	})
	if err != nil {
		return Run{}, nil, fmt.Errorf("history: finish run %d: %w", id, err)
	}
	return run, gone, nil
}

// missing records the items that a complete run has not seen.
func (s *Store) missing(tx *bbolt.Tx, run Run) ([]Change, error) {
	items := tx.Bucket(bucketItems)
	var gone []Change
	type update struct {
		key []byte
		rec itemRecord
	}
	var updates []update // a bucket must not be changed while it is walked

	var expired [][]byte
	err := items.ForEach(func(k, v []byte) error {
		var rec itemRecord
		if err := json.Unmarshal(v, &rec); err != nil {
			return fmt.Errorf("item %s: %w", k, err)
		}

		switch {
		case rec.LastRun == run.ID:
		case !rec.Gone.IsZero():
			if run.Finished.Sub(rec.Gone) > s.opts.KeepGone {
				expired = append(expired, bytes.Clone(k))
			}
		default:
			rec.Missed++
			if rec.Missed >= s.opts.GoneAfter {
				rec.Gone = run.Finished
				gone = append(gone, Change{
					Kind: ItemGone, Run: run.ID, Time: run.Finished, Name: rec.Name, URL: rec.URL, Old: rec.Price,
				})
			}
			updates = append(updates, update{bytes.Clone(k), rec})
		}

		return nil
	})
	if err != nil {
		return nil, err
	}

	for _, u := range updates {
		if err := put(items, u.key, u.rec); err != nil {
			return nil, err
		}
	}

	for _, c := range gone {
		if err := addChange(tx, c); err != nil {
			return nil, err
		}
	}

	for _, k := range expired {
		if err := items.Delete(k); err != nil {
			return nil, err
		}
		if err := deletePrefix(tx.Bucket(bucketPoints), pointPrefix(k)); err != nil {
			return nil, err
		}
	}

	return gone, nil
}

func (s *Store) load(tx *bbolt.Tx, id uint64) (Run, error) {
	v := tx.Bucket(bucketRuns).Get(number(id))
	if v == nil {
		return Run{}, errors.New("no such run")
	}
	var r Run
	if err := json.Unmarshal(v, &r); err != nil {
		return Run{}, err
	}
	return r, nil
}
