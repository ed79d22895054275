package notify_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/svcblocks/svcblocks/internal/testenv"
	"github.com/svcblocks/svcblocks/notify"
)

const (
	childEnv   = "SVCBLOCKS_NOTIFY_CHILD"   // the folder
	serviceEnv = "SVCBLOCKS_NOTIFY_SERVICE" // whose child it is
	groupedEnv = "SVCBLOCKS_NOTIFY_GROUPED" // it tells of troubles that begin and end
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if os.Getenv(groupedEnv) != "" {
			groupedChild(dir)
		} else {
			child(dir, os.Getenv(serviceEnv))
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// fileReceiver takes a message by appending its ID to a file in one write, and
// is down every other 30 ms.
type fileReceiver struct {
	path   string
	wobbly bool
}

// write appends a line. The file is open no longer than that, as what is open
// stays in its folder on some systems.
func (r *fileReceiver) write(line string) error {
	f, err := os.OpenFile(r.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

func (r *fileReceiver) Send(context.Context, string, string) error { panic("Notify is there") }

func (r *fileReceiver) Notify(_ context.Context, m notify.Message) error {
	if r.wobbly && time.Now().UnixMilli()/30%2 == 0 {
		return &notify.Error{Class: notify.ClassTransport, Reason: "down"}
	}
	return r.write(fmt.Sprintf("%s %d\n", m.ID, m.Count))
}

func killHub(dir, service string, wobbly bool) *notify.Hub {
	quick := notify.Retry{Base: time.Millisecond, Max: 20 * time.Millisecond}
	hub, err := notify.New(&notify.Options{
		Receivers: []notify.Receiver{
			{Name: "a", Notifier: &fileReceiver{filepath.Join(dir, service+"a"), false}, Retry: quick, Rate: notify.Rate{Per: -1}},
			{Name: "b", Notifier: &fileReceiver{filepath.Join(dir, service+"b"), wobbly}, Retry: quick, Rate: notify.Rate{Per: -1}},
		},
		Group:  notify.Group{Interval: -1},
		Outbox: notify.Outbox{Dir: filepath.Join(dir, "outbox"), Service: service},
	})
	if err != nil {
		panic(err)
	}
	return hub
}

// child writes with four writers until it is killed, and tells on stdout what
// was acknowledged.
func child(dir, service string) {
	hub := killHub(dir, service, true)
	go func() { _ = hub.Run(context.Background()) }()
	var mu sync.Mutex
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := 0; ; i++ {
				id := fmt.Sprintf("p%d-w%d-%d", os.Getpid(), w, i)
				if err := hub.Notify(context.Background(), notify.Message{ID: id, Subject: id, Text: strings.Repeat("x", rand.N(2000))}); err != nil {
					panic(err)
				}
				mu.Lock()
				fmt.Println(id)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

// kill runs a child, gives what it acknowledges to acked, and kills it at random.
func kill(t *testing.T, acked func(line string), env ...string) {
	t.Helper()
	cmd := testenv.Self()
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	if !lines.Scan() {
		t.Fatal("child acknowledged nothing")
	}
	acked(lines.Text())
	timer := time.AfterFunc(rand.N(60*time.Millisecond), func() { _ = cmd.Process.Kill() })
	for lines.Scan() {
		acked(lines.Text())
	}
	timer.Stop()
	_ = cmd.Wait()
}

// Killed at random with writers at work and a receiver that is up and down,
// nothing that was acknowledged is lost, and little comes twice.
func TestKill(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kills := testenv.Reps(300)
	acked := map[string]bool{}
	for range kills {
		kill(t, func(line string) { acked[line] = true }, childEnv+"="+dir)
	}
	hub := killHub(dir, "", false)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := hub.Flush(ctx); err != nil {
		t.Fatal(err)
	}
	if err := hub.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"a", "b"} {
		times := received(t, filepath.Join(dir, name))
		lost, repeats := 0, 0
		for id := range acked {
			if times[id] == 0 {
				lost++
			}
		}
		for _, n := range times {
			repeats += n - 1
		}
		t.Logf("receiver %s: %d kills, %d acknowledged, %d lost, %d repeats", name, kills, len(acked), lost, repeats)
		if lost > 0 || repeats > kills {
			t.Errorf("receiver %s: %d of %d acknowledged messages lost, %d repeats for %d kills", name, lost, len(acked), repeats, kills)
		}
	}
	left, err := os.ReadDir(filepath.Join(dir, "outbox"))
	if err != nil || len(left) != 0 {
		t.Errorf("outbox folder still has %v (%v)", left, err)
	}
}

// Two services share a folder and have receivers of the same name. Killed in turn,
// each gets what it accepted, and nothing of the other's.
func TestKillServicesInTurn(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	services, rounds := []string{"shop", "crm"}, testenv.Reps(100)
	acked := map[string]map[string]bool{"shop": {}, "crm": {}}
	for round := range rounds {
		service := services[round%2]
		kill(t, func(line string) { acked[service][line] = true }, childEnv+"="+dir, serviceEnv+"="+service)
	}

	for _, service := range services {
		hub := killHub(dir, service, false)
		if err := hub.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := hub.Close(); err != nil {
			t.Fatal(err)
		}
	}

	for i, service := range services {
		other := acked[services[1-i]]
		for _, name := range []string{"a", "b"} {
			times := received(t, filepath.Join(dir, service+name))
			lost, strange := 0, 0
			for id := range acked[service] {
				if times[id] == 0 {
					lost++
				}
			}
			for id := range times {
				if other[id] {
					strange++
				}
			}
			t.Logf("%s %s: %d rounds, %d acknowledged, %d lost, %d of a stranger", service, name, rounds, len(acked[service]), lost, strange)
			if lost+strange > 0 {
				t.Errorf("%s %s: %d messages lost, %d of a stranger", service, name, lost, strange)
			}
		}
	}
}

const groupedKeys = 20

// groupedHub has an Interval that a few kills take.
func groupedHub(dir string) *notify.Hub {
	hub, err := notify.New(&notify.Options{
		Receivers: []notify.Receiver{{Name: "a", Notifier: &stateReceiver{&fileReceiver{filepath.Join(dir, "a"), false}}, Rate: notify.Rate{Per: -1}}},
		Group:     notify.Group{Interval: time.Second}, Outbox: notify.Outbox{Dir: filepath.Join(dir, "outbox"), Service: "shop"},
	})
	if err != nil {
		panic(err)
	}
	return hub
}

// stateReceiver notes the key and whether its trouble is over.
type stateReceiver struct{ *fileReceiver }

func (r *stateReceiver) Notify(_ context.Context, m notify.Message) error {
	return r.write(fmt.Sprintf("%s %t %s\n", m.Key, m.Resolved, m.ID))
}

// groupedChild lets troubles begin and end until it is killed.
func groupedChild(dir string) {
	hub := groupedHub(dir)
	for i := rand.IntN(groupedKeys); ; i++ {
		key := fmt.Sprint("k", i%groupedKeys)
		for _, over := range []bool{false, true} {
			if err := hub.Notify(context.Background(), notify.Message{Key: key, Subject: key, Level: 8, Resolved: over}); err != nil {
				panic(err)
			}
			fmt.Println(key, over)
		}
	}
}

// Killed at random while troubles begin and end, the receiver hears of each, and
// in the end that each is over; kills make no flood of it.
func TestKillBetweenWords(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	kills, began := testenv.Reps(300), time.Now()
	acked := map[string]bool{}
	for range kills {
		kill(t, func(line string) {
			if key, over, ok := strings.Cut(line, " "); ok && over != "" {
				acked[key] = true
			}
		}, childEnv+"="+dir, groupedEnv+"=1")
	}

	hub := groupedHub(dir)
	intervals := int(time.Since(began)/time.Second) + 2
	for i := range groupedKeys { // the last word of what was cut off
		if err := hub.Notify(t.Context(), notify.Message{Key: fmt.Sprint("k", i), Subject: "over", Level: 8, Resolved: true}); err != nil {
			t.Fatal(err)
		}
	}
	if err := hub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := hub.Close(); err != nil {
		t.Fatal(err)
	}

	data, err := os.ReadFile(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	last, words, all := map[string]string{}, map[string]int{}, 0
	for line := range strings.Lines(string(data)) {
		f := strings.Fields(line)
		last[f[0]] = f[1]
		words[f[0]]++
		all++
	}
	for key := range acked {
		// Within an interval a start and an end, and one word more.
		if last[key] != "true" || words[key] > 3*intervals {
			t.Errorf("%s: %d words in %d intervals, the last one says over=%q", key, words[key], intervals, last[key])
		}
	}
	t.Logf("%d kills, %d keys, %d messages in %d intervals", kills, len(acked), all, intervals)
	if all > 3*intervals*groupedKeys+kills {
		t.Errorf("%d messages", all)
	}
}

func received(t *testing.T, path string) map[string]int {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	times := map[string]int{}
	for line := range strings.Lines(string(data)) {
		id, _, _ := strings.Cut(line, " ")
		times[id]++
	}
	return times
}

// abandon leaves a hub's outbox as a crash does: the file as it is, the lock
// free. It works on a copy, as the hub cannot be stopped without cleaning up.
func abandon(t *testing.T, dir string) (journal string) {
	t.Helper()
	list, err := filepath.Glob(filepath.Join(dir, "*", "journal"))
	if err != nil || len(list) != 1 {
		t.Fatalf("journals %v, %v", list, err)
	}
	data, err := os.ReadFile(list[0])
	if err != nil {
		t.Fatal(err)
	}
	crashed := filepath.Join(t.TempDir(), "outbox", "crashed")
	if err := os.MkdirAll(crashed, 0o700); err != nil {
		t.Fatal(err)
	}
	journal = filepath.Join(crashed, "journal")
	if err := os.WriteFile(journal, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return journal
}

// frames returns where each record of a journal ends.
func frames(data []byte) (ends []int) {
	for at := 8; at+4 <= len(data); {
		size := int(binary.LittleEndian.Uint32(data[at:]))
		if size == 0 { // room for more
			break
		}
		at += 8 + size
		ends = append(ends, at)
	}
	return ends
}

// A journal that is cut or garbled anywhere loses nothing before the damage,
// and nothing behind it but what the damage covers.
func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hangs := sendFunc(func(ctx context.Context, _, _ string) error { <-ctx.Done(); return ctx.Err() })
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "f", Notifier: hangs, Timeout: -1}}, Outbox: notify.Outbox{Dir: dir}, CloseTimeout: -1,
	})
	const messages = 10
	text := strings.Repeat("text ", 20)
	for i := range messages {
		if err := hub.Send(t.Context(), fmt.Sprint("s", i), text); err != nil {
			t.Fatal(err)
		}
	}
	path := abandon(t, dir)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	ends := frames(whole)
	if len(ends) != messages {
		t.Fatalf("%d records, want %d", len(ends), messages)
	}
	room := whole[ends[messages-1]:]
	if len(room) == 0 || len(bytes.Trim(room, "\x00")) > 0 {
		t.Fatalf("%d bytes stand behind the last record, want zeros", len(room))
	}
	whole = whole[:ends[messages-1]]
	check := func(name string, data []byte, want func(i int) bool) {
		t.Helper()
		dir := filepath.Join(t.TempDir(), "outbox")
		if err := os.MkdirAll(filepath.Join(dir, "crashed"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "crashed", "journal"), data, 0o600); err != nil {
			t.Fatal(err)
		}
		f := &fake{}
		hub, err := notify.New(&notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Outbox: notify.Outbox{Dir: dir}})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := hub.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := hub.Close(); err != nil {
			t.Fatal(err)
		}
		got := map[string]bool{}
		for _, m := range f.messages() {
			got[m.Subject] = true
			if m.Text != text {
				t.Errorf("%s: garbled text was delivered: %q", name, m.Text)
			}
		}
		for i := range messages {
			if want(i) && !got[fmt.Sprint("s", i)] {
				t.Errorf("%s: message %d is lost", name, i)
			}
		}
	}
	for range testenv.Reps(200) {
		cut := rand.N(len(whole) + 1)
		check(fmt.Sprintf("cut at %d", cut), whole[:cut], func(i int) bool { return ends[i] <= cut })
		check(fmt.Sprintf("torn at %d", cut), slices.Concat(whole[:cut], room), func(i int) bool { return ends[i] <= cut })
		at, n := rand.N(len(whole)), 1+rand.N(40)
		if rand.N(2) == 0 { // one letter of the text
			at, n = bytes.Index(whole, []byte("text text"))+rand.N(50), 1
		}
		data := append([]byte(nil), whole...)
		for i := at; i < min(at+n, len(data)); i++ {
			data[i] ^= byte(1 + rand.N(15))
		}
		check(fmt.Sprintf("%d bytes garbled at %d", n, at), data, func(i int) bool {
			begin := 8
			if i > 0 {
				begin = ends[i-1]
			}
			return ends[i] <= at || begin >= at+n
		})
	}
}

// A crash while the start is with the receiver and the end waits leaves two
// messages. The next process makes one of them.
func TestStartAndEndSurviveACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	began := make(chan struct{})
	hangs := &fake{send: func(ctx context.Context, _ notify.Message) error {
		close(began)
		<-ctx.Done()
		return ctx.Err()
	}}
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: hangs}}, Outbox: notify.Outbox{Dir: dir}, CloseTimeout: -1})
	send(t, hub, down("db"))
	<-began
	send(t, hub, up("db"))

	path := abandon(t, dir)
	f := &fake{}
	next := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Outbox: notify.Outbox{Dir: filepath.Dir(filepath.Dir(path))}})
	if err := next.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := f.messages(); len(got) != 1 || !got[0].Resolved || !strings.Contains(got[0].Text, "db up") {
		t.Errorf("got %+v, want one message with both", got)
	}
	if s := next.Stats(); s.Stored != 0 {
		t.Errorf("%d messages wait", s.Stored)
	}
	_ = hub.Close()
}

// What is told again has the ID that it was told with, also where the end came
// between two tries.
func TestTriesKeepTheirID(t *testing.T) {
	t.Parallel()
	tries := make(chan notify.Message)
	f := &fake{send: func(ctx context.Context, m notify.Message) error {
		select {
		case tries <- m:
		case <-ctx.Done():
		}
		return &notify.Error{Class: notify.ClassTransport, Reason: "away"}
	}}
	hub := newHub(t, &notify.Options{
		Receivers: []notify.Receiver{{Name: "f", Notifier: f, Retry: notify.Retry{Base: time.Millisecond, Max: 2 * time.Millisecond}}},
		Outbox:    notify.Outbox{Dir: t.TempDir()}, Logger: slog.New(slog.DiscardHandler), CloseTimeout: -1,
	})
	send(t, hub, down("db"))
	first := <-tries
	send(t, hub, up("db"))
	both := <-tries
	for !both.Resolved { // it was on its way
		both = <-tries
	}
	if again := <-tries; first.Resolved || both.ID == first.ID || again.ID != both.ID {
		t.Errorf("start %s, with the end %s, and again %s", first.ID, both.ID, again.ID)
	}
	_ = hub.Close()
}

// A start that went out with its end and comes again after a crash without it, as
// the trouble is back, is another message: a receiver may know the first by its ID.
func TestStartAloneHasAnotherID(t *testing.T) {
	t.Parallel()
	// gate lets one call after another go on, and shows what each has.
	type gate struct {
		calls chan notify.Message
		next  chan struct{}
	}
	open := func(dir string) (*notify.Hub, gate) {
		g := gate{make(chan notify.Message), make(chan struct{})}
		f := &fake{send: func(ctx context.Context, m notify.Message) error {
			select {
			case g.calls <- m:
			case <-ctx.Done():
				return ctx.Err()
			}
			select {
			case <-g.next:
			case <-ctx.Done():
			}
			return ctx.Err()
		}}
		return newHub(t, &notify.Options{
			Receivers: []notify.Receiver{{Name: "f", Notifier: f, Timeout: -1}}, Outbox: notify.Outbox{Dir: dir},
			CloseTimeout: -1, Logger: slog.New(slog.DiscardHandler),
		}), g
	}
	first := func(text string) notify.Message { return notify.Message{Level: slog.LevelError + 4, Subject: text} }

	dir := t.TempDir()
	hub, g := open(dir)
	send(t, hub, first("busy"))
	<-g.calls
	send(t, hub, down("db"), up("db"))
	g.next <- struct{}{}
	both := <-g.calls
	send(t, hub, first("busy again"))
	path := abandon(t, dir)

	next, after := open(filepath.Dir(filepath.Dir(path)))
	<-after.calls
	send(t, next, down("db"))
	after.next <- struct{}{}
	alone := <-after.calls
	if !both.Resolved || alone.Resolved || alone.Key != "db" || alone.ID == both.ID {
		t.Errorf("before the crash %+v, after it %+v", both, alone)
	}
	close(g.next)
	close(after.next)
	_, _ = hub.Close(), next.Close()
}

// What was told apart from its repeats before a crash is told after it.
func TestRepeatsSurviveACrash(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	hangs := &fake{}
	release := make(chan struct{})
	hangs.send = func(context.Context, notify.Message) error { <-release; return nil }
	hub := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: hangs}}, Outbox: notify.Outbox{Dir: dir}})
	for range 6 {
		if err := hub.Send(t.Context(), "s", "m"); err != nil {
			t.Fatal(err)
		}
	}
	after := func() []notify.Message {
		t.Helper()
		path := abandon(t, dir)
		f := &fake{}
		next := newHub(t, &notify.Options{Receivers: []notify.Receiver{{Name: "f", Notifier: f}}, Outbox: notify.Outbox{Dir: filepath.Dir(filepath.Dir(path))}})
		if err := next.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		return f.messages()
	}
	got := after()
	if len(got) != 1 || got[0].Count < 4 {
		t.Errorf("got %+v, want one message for at least 4 of 6", got)
	}
	close(release)
	if err := hub.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := after(); len(got) != 0 {
		t.Errorf("what was told of is told again: %+v", got)
	}
	if err := hub.Close(); err != nil {
		t.Fatal(err)
	}
}
