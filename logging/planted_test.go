package logging_test

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/logging"
)

// planting is a way to prepare a file for somebody else's program.
type planting struct {
	name  string
	needs func(t testing.TB) // skips the test where the system knows no such thing
	do    func(path, victim string) error
}

func waysToPlant() []planting {
	all := []planting{
		{"link", testenv.Symlinks, func(path, victim string) error { return os.Symlink(victim, path) }},
		{"dangling link", testenv.Symlinks, func(path, victim string) error { return os.Symlink(victim+".new", path) }},
		{"open to all", testenv.Modes, func(path, _ string) error {
			return errors.Join(os.WriteFile(path, []byte(planted), 0o600), os.Chmod(path, 0o666))
		}},
	}
	if os.Getuid() == 0 {
		all = append(all, planting{"of another user", testenv.Modes, func(path, _ string) error {
			return errors.Join(os.WriteFile(path, []byte(planted), 0o600), os.Chown(path, 4711, 4711))
		}})
	}
	return all
}

// planted is a line that must not be taken for one of ours.
const planted = "{\"msg\":\"planted\"}\n"

// TestPlantedFiles has a file of another user, one that everybody may write, or
// a link to what is none of ours, at each name of a queue. Nothing is written
// through it and nothing of it is shipped, and what it stops is told.
func TestPlantedFiles(t *testing.T) {
	t.Parallel()
	const always, files, never = "always", "files", "never" // links in place of a segment are no segments
	for name, tells := range map[string]string{
		"app.log": always, "app~1.log": never, "app-20260101000000000000-000001.log": files,
		".app.log.next": never, ".app.log.queue": always, ".app.log.sent": always, ".app.log.state": never,
		".app.log.turn": always, "app.log.quarantine": always,
	} {
		for _, p := range waysToPlant() {
			t.Run(name+" "+p.name, func(t *testing.T) {
				t.Parallel()
				p.needs(t)
				dir := t.TempDir()
				victim := filepath.Join(dir, "victim")
				if err := os.WriteFile(victim, []byte(planted), 0o600); err != nil {
					t.Fatal(err)
				}
				logDir := filepath.Join(dir, "log")
				path := filepath.Join(logDir, name)
				if err := errors.Join(os.Mkdir(logDir, 0o750), p.do(path, victim)); err != nil {
					t.Fatal(err)
				}

				told := driveQueue(t, filepath.Join(logDir, "app.log"))
				link := strings.Contains(p.name, "link")
				if told == nil && (tells == always || tells == files && !link) {
					t.Error("it is told nowhere")
				}
				if got, err := os.ReadFile(victim); err != nil || string(got) != planted {
					t.Errorf("the victim is %q, %v now", got, err)
				}
				if _, err := os.Lstat(victim + ".new"); err == nil {
					t.Error("a file was made through the link")
				}
				if got, err := os.ReadFile(path); err == nil && string(got) != planted && tells != never {
					t.Errorf("%s is %q now", path, got)
				}
			})
		}
	}
}

// TestSharedFiles has a log whose files belong to another user, or may be written
// by everybody, as on some mounts: it works where that was said.
func TestSharedFiles(t *testing.T) {
	t.Parallel()
	testenv.Modes(t)
	for name, o := range map[string]logging.FileOptions{"Shared": {Shared: true}, "Perm": {Perm: 0o660}} {
		for _, p := range waysToPlant() {
			if strings.Contains(p.name, "link") {
				continue
			}
			t.Run(name+" "+p.name, func(t *testing.T) {
				t.Parallel()
				dir := t.TempDir()
				if err := errors.Join(os.Chmod(dir, 0o777), p.do(filepath.Join(dir, "app.log"), "")); err != nil {
					t.Fatal(err)
				}
				file := o
				file.Path = filepath.Join(dir, "app.log")
				logs := newLogs(t, &logging.Options{File: file, Sink: &collector{took: map[string]int{}}})
				if res, err := logs.SendBulk(minute(t)); err != nil || res.Events != 1 {
					t.Errorf("SendBulk = %+v, %v; want the line that was there", res, err)
				}
			})
		}
	}

	dir := t.TempDir()
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	_, err := logging.New(&logging.Options{File: logging.FileOptions{Path: filepath.Join(dir, "app.log")}, Sink: &collector{}})
	if err == nil || !strings.Contains(err.Error(), "Shared") {
		t.Errorf("New in a folder where everybody can plant files = %v", err)
	}
}

// driveQueue writes, seals, ships and sets aside, and returns what was told.
func driveQueue(t *testing.T, path string) (told error) {
	sink := &collector{took: map[string]int{}}
	sink.before = func(b *logging.Batch) error {
		var refused []int
		for i, e := range b.Events {
			if strings.Contains(string(e.Line), "planted") {
				t.Errorf("shipped %q", e.Line)
			}
			if strings.Contains(string(e.Line), "poison") {
				refused = append(refused, i)
			}
		}
		if refused != nil {
			return &logging.SinkError{Kind: logging.KindRejected, Rejected: refusedAt(refused...), Err: errors.New("400")}
		}
		return nil
	}

	logs, err := logging.New(&logging.Options{
		File: logging.FileOptions{Path: path}, Sink: sink, StuckAfter: -1, CloseTimeout: -1, Logger: slog.New(slog.DiscardHandler),
		Console: logging.ConsoleOptions{Writer: io.Discard}, Ship: quickly(logging.ShipperOptions{}),
	})
	if err != nil {
		return err
	}
	log := logs.Logger("a")
	for range 2 {
		for _, msg := range []string{"one", "poison", "two", "poison", "three"} {
			log.Info("record", "text", msg)
		}
		_, err := logs.SendBulk(minute(t))
		if !onlyRefused(err) {
			told = errors.Join(told, err)
		}
	}
	told = errors.Join(told, logs.Check(t.Context()))
	return errors.Join(told, logs.Close())
}
