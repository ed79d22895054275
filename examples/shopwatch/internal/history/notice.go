package history

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"
)

// end stores a run that has ended, with the notices that it owes, and drops
// what is beyond the bounds.
func (s *Store) end(tx *bbolt.Tx, run Run) error {
	kinds, err := owed(tx, run)
	if err != nil {
		return err
	}
	for _, kind := range kinds {
		rec := noticeRecord{Kind: kind, Run: run.ID}
		if err := put(tx.Bucket(bucketNotices), noticeKey(run.ID, kind), rec); err != nil {
			return err
		}
	}
	if err := put(tx.Bucket(bucketRuns), number(run.ID), run); err != nil {
		return err
	}
	return s.prune(tx)
}

// owed decides what the operator is told about a run that has ended.
func owed(tx *bbolt.Tx, run Run) ([]NoticeKind, error) {
	var kinds []NoticeKind
	if hasPrefix(tx.Bucket(bucketChanges), number(run.ID)) {
		kinds = append(kinds, ChangesFound)
	}

	switch run.Status {
	case Failed:
		kinds = append(kinds, RunFailed)
	case Partial:
		kinds = append(kinds, RunPartial)
	case Interrupted:
		kinds = append(kinds, RunInterrupted)
	case OK:
		before, err := lastConclusive(tx, run.ID)
		if err != nil {
			return nil, err
		}
		if before == Failed || before == Partial || before == Interrupted {
			kinds = append(kinds, RunRecovered)
		}
	}

	return kinds, nil
}

// lastConclusive returns the status of the newest run before id that says how
// the site fares; a stop says nothing.
func lastConclusive(tx *bbolt.Tx, id uint64) (Status, error) {
	c := tx.Bucket(bucketRuns).Cursor()
	c.Seek(number(id))
	for k, v := c.Prev(); k != nil; k, v = c.Prev() {
		var r Run
		if err := json.Unmarshal(v, &r); err != nil {
			return "", fmt.Errorf("run %d: %w", binary.BigEndian.Uint64(k), err)
		}
		if r.Status != Stopped && r.Status != Running {
			return r.Status, nil
		}
	}
	return "", nil
}

// prune drops the oldest runs beyond the bound, but none that owes a notice.
func (s *Store) prune(tx *bbolt.Tx) error {
	runs := tx.Bucket(bucketRuns)
	c := runs.Cursor()
	last, _ := c.Last()
	if last == nil {
		return nil
	}
	newest := binary.BigEndian.Uint64(last)

	var old [][]byte
	for k, _ := c.First(); k != nil; k, _ = c.Next() {
		if newest-binary.BigEndian.Uint64(k) < uint64(s.opts.MaxRuns) {
			break
		}
		if !hasPrefix(tx.Bucket(bucketNotices), k) {
			old = append(old, slices.Clone(k))
		}
	}

	for _, k := range old {
		if err := runs.Delete(k); err != nil {
			return err
		}
		if err := deletePrefix(tx.Bucket(bucketChanges), k); err != nil {
			return err
		}
	}

	return nil
}

// Pending returns the notices that are owed, oldest first.
func (s *Store) Pending() ([]Notice, error) {
	var out []Notice
	err := s.db.View(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketNotices).ForEach(func(k, v []byte) error {
			var rec noticeRecord
			if err := json.Unmarshal(v, &rec); err != nil {
				return fmt.Errorf("notice %x: %w", k, err)
			}
			run, err := s.load(tx, rec.Run)
			if err != nil {
				return fmt.Errorf("notice of run %d: %w", rec.Run, err)
			}

			n := Notice{ID: noticeID(run, rec.Kind), Kind: rec.Kind, Run: run}
			if rec.Kind == ChangesFound {
				if n.Changes, err = changes(tx, rec.Run); err != nil {
					return err
				}
			}
			out = append(out, n)
			return nil
		})
	})
	if err != nil {
		return nil, fmt.Errorf("history: pending notices: %w", err)
	}
	return out, nil
}

// Settle says that n is in safe hands: it is owed no more. Settling twice does
// nothing.
func (s *Store) Settle(n Notice) error {
	err := s.update(func(tx *bbolt.Tx) error {
		return tx.Bucket(bucketNotices).Delete(noticeKey(n.Run.ID, n.Kind))
	})
	if err != nil {
		return fmt.Errorf("history: settle notice %s: %w", n.ID, err)
	}
	return nil
}

// noticeID carries the run's start as well: with a new history file the runs
// count from 1 again, and a notice must not look like one of long ago.
func noticeID(run Run, kind NoticeKind) string {
	return fmt.Sprintf("%s-%d-%d", kind, run.Started.UnixMilli(), run.ID)
}

func noticeKey(run uint64, kind NoticeKind) []byte { return append(number(run), kind...) }

func changes(tx *bbolt.Tx, run uint64) ([]Change, error) {
	var out []Change
	err := eachPrefix(tx.Bucket(bucketChanges), number(run), func(_, v []byte) error {
		var c Change
		if err := json.Unmarshal(v, &c); err != nil {
			return fmt.Errorf("change of run %d: %w", run, err)
		}
		out = append(out, c)
		return nil
	})
	return out, err
}

func addChange(tx *bbolt.Tx, c Change) error {
	b := tx.Bucket(bucketChanges)
	seq, err := b.NextSequence()
	if err != nil {
		return err
	}
	return put(b, append(number(c.Run), number(seq)...), c)
}
