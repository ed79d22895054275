// Package secret holds values that must not be shown: passwords, tokens,
// webhook addresses.
//
// A [Secret] prints as "[redacted]" through fmt, log/slog, encoding/json,
// encoding/xml and YAML encoders. Its bytes are kept XORed with a pad that is
// random for each process, so that dumpers which read unexported fields by
// reflection (go-cmp, spew, %#v of an enclosing struct) show noise and not the
// value. [Secret.Reveal] is the only way out.
//
// This is protection against showing a secret by accident. It is not
// protection against someone who can read the memory of the process.
//
// The package uses the standard library alone, so that a package which takes a
// secret does not pay for the package which loads it.
package secret

import (
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"sync"
)

// Redacted is what a [Secret] shows in place of its value.
const Redacted = "[redacted]"

// Secret is a value that does not show itself. The zero Secret is empty.
//
// Secrets made from equal text are equal under ==, [reflect.DeepEqual] and
// [Secret.Equal] within one process. A Secret is immutable but for
// [Secret.UnmarshalText]; it is safe for concurrent use otherwise.
type Secret struct {
	masked string
}

// New returns a Secret that holds value.
func New(value string) Secret { return Secret{masked: mask(value)} }

// Reveal returns the value. Pass it on to what needs it and keep no copy.
func (s Secret) Reveal() string { return mask(s.masked) }

// IsZero reports whether the secret is empty.
func (s Secret) IsZero() bool { return s.masked == "" }

// Equal reports whether both hold the same value. Its time does not depend on
// where they differ; go-cmp calls it instead of comparing fields.
func (s Secret) Equal(other Secret) bool {
	return subtle.ConstantTimeCompare([]byte(s.masked), []byte(other.masked)) == 1
}

// String returns [Redacted], or "" for an empty secret, so that a message
// shows whether a secret was set at all.
func (s Secret) String() string {
	if s.IsZero() {
		return ""
	}
	return Redacted
}

// GoString returns a redacted Go expression for %#v.
func (s Secret) GoString() string { return "secret.New(" + fmt.Sprintf("%q", s.String()) + ")" }

// Format writes the redacted form for every verb and flag.
func (s Secret) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		_, _ = io.WriteString(f, s.GoString())
		return
	}
	_, _ = io.WriteString(f, s.String())
}

// LogValue returns the redacted form for log/slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText returns the redacted form: an encoded settings struct does not
// carry its secrets, and cannot be loaded back with them.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText sets the secret to text. It must not run concurrently with
// other uses of the same variable.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = New(string(text))
	return nil
}

// mask XORs text with the process's pad; applied twice, it gives text back.
func mask(text string) string {
	if text == "" {
		return ""
	}
	out := []byte(text)
	stream := rand.NewChaCha8(padSeed())
	var pad [64]byte
	for done := 0; done < len(out); {
		_, _ = stream.Read(pad[:]) // documented never to fail
		done += subtle.XORBytes(out[done:], out[done:], pad[:])
	}
	return string(out)
}

// padSeed is drawn once per process: secrets of different processes mask
// differently, equal secrets of one process equally. The runtime's generator,
// seeded by the system, is enough for a pad that is no encryption; crypto/rand
// would add 0.2 MB to each program that holds a secret.
var padSeed = sync.OnceValue(func() (seed [32]byte) {
	for i := 0; i < len(seed); i += 8 {
		binary.LittleEndian.PutUint64(seed[i:], rand.Uint64())
	}
	return seed
})
