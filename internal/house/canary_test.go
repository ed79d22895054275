package house_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/davecgh/go-spew/spew"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/config/secret"
	"github.com/svcblocks/svcblocks/logging"
	"github.com/svcblocks/svcblocks/notify"
)

// canaryForms are the ways in which a secret comes to be written in somebody
// else's text, and from which length on each block must know it.
var canaryForms = []struct {
	name  string
	from  int
	write func(s string) string
}{
	{"plain", 4, func(s string) string { return s }},
	{"query", 4, url.QueryEscape},
	{"path", 4, url.PathEscape},
	{"query, lower case", 4, func(s string) string { return lowerEscapes(url.QueryEscape(s)) }},
	{"%q", 4, func(s string) string { return strings.Trim(strconv.Quote(s), `"`) }},
	{"JSON", 4, func(s string) string { return inJSON(s) }},
	{"JSON in JSON", 4, func(s string) string { return inJSON(inJSON(s)) }},
	{"base64", 4, func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
	{"base64, unpadded", 4, func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }},
	{"hex", 4, func(s string) string { return hex.EncodeToString([]byte(s)) }},
	{"HEX", 4, func(s string) string { return strings.ToUpper(hex.EncodeToString([]byte(s))) }},
	{"basic authentication", 8, func(s string) string { return base64.StdEncoding.EncodeToString([]byte("user:" + s)) }},
}

// canarySecrets are secrets of each length, without and with characters that
// the forms change.
var canarySecrets = map[int][]string{
	3:  {"q7Z", `"<&`},
	4:  {"q7Zx", `"<& `},
	7:  {"q7Zx9Kw", `p"<& /7`},
	8:  {"q7Zx9Kw2", `p"<& /+8`},
	32: {"q7Zx9Kw2Lm4Nb6Vc8Xz1As3Df5Gh7Jk9", `p"<& /+8%\ü = q7Zx9Kw2Lm4Nb6Vc8`},
}

func lowerEscapes(s string) string {
	for i := range len(s) {
		if s[i] == '%' && i+2 < len(s) {
			s = s[:i] + strings.ToLower(s[i:i+3]) + s[i+3:]
		}
	}
	return s
}

// inJSON returns s as it stands between the quotes of a JSON string.
func inJSON(s string) string {
	text, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(text[1 : len(text)-1])
}

// canaryBlocks make a block meet a text that somebody else wrote, while it
// knows the secret, and return all that it shows of it, by place.
var canaryBlocks = map[string]func(t *testing.T, s secret.Secret, text string) map[string]string{
	"config":  canaryConfig,
	"logging": canaryLogging,
	"notify":  canaryNotify,
}

// TestCanaries is a table of every form and length in every block.
func TestCanaries(t *testing.T) {
	t.Parallel()
	for block, show := range canaryBlocks {
		t.Run(block, func(t *testing.T) {
			t.Parallel()
			for length, values := range canarySecrets {
				for _, value := range values {
					for _, form := range canaryForms {
						written := form.write(value)
						shown := show(t, secret.New(value), "it said "+written+" to us")
						for place, text := range shown {
							canaryCell(t, block, fmt.Sprintf("%s, %d bytes, %s", form.name, length, place), text, written, length >= form.from)
						}
					}
				}
			}
		})
	}
}

// canaryCell checks one cell of the table.
func canaryCell(t *testing.T, block, cell, text, written string, hidden bool) {
	t.Helper()
	if !strings.Contains(text, "it said ") && !strings.Contains(text, secret.Redacted) {
		t.Errorf("%s: %s: nothing was shown: %q", block, cell, text)
		return
	}
	found := strings.Contains(text, written)
	if hidden && found {
		t.Errorf("%s: %s: shows %q: %s", block, cell, written, text)
	}
}

// texts returns all strings of JSON lines, decoded, or the text itself.
func texts(lines string) string {
	var b strings.Builder
	for line := range strings.Lines(lines) {
		var v any
		if json.Unmarshal([]byte(line), &v) != nil {
			b.WriteString(line)
			continue
		}
		fmt.Fprintf(&b, "%v\n", v)
	}
	return b.String()
}

// errorTexts returns every text that an error gives out: of each verb, of the
// causes that errors.As finds, of dumpers and of a log line.
func errorTexts(err error) map[string]string {
	var chain strings.Builder
	for _, find := range []func() (error, bool){
		func() (error, bool) { e, ok := errors.AsType[*teller](err); return e, ok },
		func() (error, bool) {
			e, ok := errors.AsType[interface {
				error
				Temporary() bool
			}](err)
			return e, ok
		},
		func() (error, bool) {
			e, ok := errors.AsType[interface {
				error
				Unwrap() error
			}](err)
			return e, ok
		},
		func() (error, bool) {
			e, ok := errors.AsType[interface {
				error
				Unwrap() []error
			}](err)
			return e, ok
		},
	} {
		if e, ok := find(); ok {
			fmt.Fprintf(&chain, "%v %+v\n", e, e)
		}
	}
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Error("it said nothing", "error", err)
	return map[string]string{
		"error": err.Error(), "%+v": fmt.Sprintf("%+v", err), "%#v": fmt.Sprintf("it said %#v", err),
		"errors.As": "it said " + chain.String(), "a log line of the error": texts(log.String()),
		"dump": "it said " + (&spew.ConfigState{DisableMethods: true, DisablePointerAddresses: true, MaxDepth: 6}).Sdump(err),
	}
}

// teller is somebody else's error, with the text in a field of its own.
type teller struct{ Text string }

func (e *teller) Error() string   { return e.Text }
func (e *teller) Temporary() bool { return false }

type canarySettings struct {
	Key config.Secret
	Say string `koanf:"-"`
}

func (s *canarySettings) Validate() error { return fmt.Errorf("validate: %w", &teller{s.Say}) }

func canaryConfig(t *testing.T, s secret.Secret, text string) map[string]string {
	t.Helper()
	_, err := config.Load(t.Context(), canarySettings{Key: s, Say: text})
	if err == nil {
		t.Fatal("Load took it")
	}
	return errorTexts(err)
}

func canaryLogging(t *testing.T, s secret.Secret, text string) map[string]string {
	t.Helper()
	var console, further bytes.Buffer
	path := filepath.Join(t.TempDir(), "app.log")
	logs, err := logging.New(&logging.Options{
		File: logging.FileOptions{Path: path}, Console: logging.ConsoleOptions{Format: "text", Color: "never", Writer: &console},
		Handlers: []slog.Handler{slog.NewJSONHandler(&further, nil)}, Secrets: []secret.Secret{s},
	})
	if err != nil {
		t.Fatal(err)
	}
	log := logs.Logger("a")
	record := slog.NewRecord(time.Now(), slog.LevelInfo, text, 0)
	if err := log.Handler().Handle(t.Context(), record); err != nil {
		t.Fatal(err)
	}
	log.Info("m", "text", text, "error", &teller{text}, slog.Group("g", "bytes", []byte(text)), "any", map[string]any{"k": []string{text}})
	log.With("with", text).Info("m")
	file, err := os.ReadFile(path)
	if err := errors.Join(err, logs.Close()); err != nil {
		t.Fatal(err)
	}
	return map[string]string{"file": texts(string(file)), "console": console.String(), "handler": texts(further.String())}
}

// refuser is a receiver of messages that says why it takes none.
type refuser struct{ text string }

func (r refuser) Send(context.Context, string, string) error {
	return fmt.Errorf("refused: %w", &teller{r.text})
}

// lockedBuffer is a buffer that a logger and a test share.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func canaryNotify(t *testing.T, s secret.Secret, text string) map[string]string {
	t.Helper()
	var log lockedBuffer
	options := notify.Options{
		Receivers: []notify.Receiver{{Name: "ops", Notifier: refuser{text}, Retry: notify.Retry{Attempts: 1, Base: 1}}},
		Logger:    slog.New(slog.NewJSONHandler(&log, nil)), Secrets: []secret.Secret{s},
	}

	// Without an outbox Send returns what the receiver said.
	hub, err := notify.New(&options)
	if err != nil {
		t.Fatal(err)
	}
	err = hub.Send(t.Context(), "it said so", "text")
	if err == nil {
		t.Fatal("Send took it")
	}
	shown := errorTexts(err)
	shown["stats"] = fmt.Sprintf("it said %+v", hub.Stats())
	_ = hub.Close() // its error is about what stayed, which is said below

	// With one it is kept, and what was said is kept beside it.
	options.Outbox.Dir = t.TempDir()
	if hub, err = notify.New(&options); err != nil {
		t.Fatal(err)
	}
	if err := hub.Send(t.Context(), "it said so", "text"); err != nil {
		shown["error of a stored message"] = "it said " + err.Error()
	}
	if err := hub.Flush(t.Context()); err != nil {
		shown["error of Flush"] = "it said " + err.Error()
	}
	_ = hub.Close()
	shown["log"] = "it said " + texts(log.String())

	var files strings.Builder
	files.WriteString("it said ")
	_ = filepath.WalkDir(options.Outbox.Dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			content, _ := os.ReadFile(path)
			files.WriteString(texts(string(content)))
		}
		return nil
	})
	shown["journal"] = files.String()
	return shown
}
