package logging_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/svcblocks/svcblocks/internal/filelock"
	"github.com/svcblocks/svcblocks/logging"
)

// notices collects what OnError is told, with the ends.
type notices struct {
	mu   sync.Mutex
	all  []error
	when []time.Time
}

func (n *notices) add(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all, n.when = append(n.all, err), append(n.when, time.Now())
}

// TestStuckIsTold has a log stuck for an hour of virtual time in each way: it is
// told within a minute and some seconds, once, and once when it is over.
func TestStuckIsTold(t *testing.T) {
	t.Parallel()
	refuse := func(kind logging.Kind) func(dir string) (func(), error) {
		return func(string) (func(), error) {
			return func() {}, &logging.SinkError{Kind: kind, Err: errors.New("the way it is")}
		}
	}
	for name, begin := range map[string]func(dir string) (end func(), answer error){
		"away":                  refuse(logging.KindRetry),
		"the token is refused":  refuse(logging.KindConfig),
		"everything is refused": refuse(logging.KindRejected),
		"all is too large":      refuse(logging.KindTooLarge),
		"the turn is held": func(dir string) (func(), error) {
			f, err := os.OpenFile(filepath.Join(dir, ".app.log.turn"), os.O_RDWR|os.O_CREATE, 0o600)
			if err != nil {
				t.Fatal(err)
			}
			if held, err := filelock.TryLock(f); err != nil || !held {
				t.Fatal(held, err)
			}
			if _, err := fmt.Fprintf(f, "%010d %020d\n", 4711, time.Now().UnixNano()); err != nil {
				t.Fatal(err)
			}
			return func() { _ = f.Close() }, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var answer error
				sink := sinkFunc(func(context.Context, *logging.Batch) error {
					mu.Lock()
					defer mu.Unlock()
					return answer
				})
				dir := t.TempDir()
				var told notices
				logs := newLogs(t, &logging.Options{
					File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, Sink: sink,
					OnError: told.add, Logger: slog.New(slog.DiscardHandler), Ship: logging.ShipperOptions{Interval: 5 * time.Second},
				})
				logs.Logger("a").Info("fine")
				time.Sleep(time.Minute)

				end, says := begin(dir)
				mu.Lock()
				answer = says
				mu.Unlock()
				from := time.Now()
				logs.Logger("a").Info("stuck")
				time.Sleep(time.Hour)
				synctest.Wait()
				if len(told.all) != 1 || !errors.Is(told.all[0], logging.ErrStuck) || told.when[0].Sub(from) > 80*time.Second {
					t.Fatalf("told %v at %v, it began at %v", told.all, told.when, from)
				}
				if err := logs.Check(t.Context()); !errors.Is(err, logging.ErrStuck) || errors.Is(err, logging.ErrLost) {
					t.Errorf("Check = %v", err)
				}
				if d := logs.Stats().Ship.Delivery; d.Condition == "healthy" || d.Since.IsZero() || d.Reason == "" {
					t.Errorf("%+v", d)
				}

				mu.Lock()
				answer = nil
				mu.Unlock()
				end()
				logs.Logger("a").Info("fine again")
				time.Sleep(time.Hour)
				synctest.Wait()
				if len(told.all) != 2 || errors.Is(told.all[1], logging.ErrStuck) {
					t.Fatalf("told %v", told.all)
				}
				if st := logs.Stats().Ship; logs.Check(t.Context()) != nil || st.Events != 3 || st.Quarantined != 0 {
					t.Errorf("%+v, %v", st, logs.Check(t.Context()))
				}
			})
		})
	}
}

// TestOrphanIsTold has the path of a log changed in its settings while segments
// wait.
func TestOrphanIsTold(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "old-20260102150405000000-000007.log"), []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		var told notices
		logs := newLogs(t, &logging.Options{
			File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, Sink: nowhere{},
			OnError: told.add, Logger: slog.New(slog.DiscardHandler),
		})
		logs.Logger("a").Info("fine")
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		if len(told.all) != 1 || !errors.Is(told.all[0], logging.ErrStuck) || !strings.Contains(told.all[0].Error(), "old.log") {
			t.Errorf("told %v", told.all)
		}
	})
}
