package config

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/svcblocks/svcblocks/config/internal/doc"
)

// Option is a layer of settings, or a setting of the loading itself. Layers
// apply in the order they are given: later ones win.
type Option func(*options)

// FileOption says how [File] treats its file.
type FileOption func(*sourceSpec)

type options struct {
	sources   []sourceSpec
	resolvers map[string]Resolver
	lenient   bool
	ignore    []string // patterns of names that may be there
	emptyless bool     // empty variables count as unset
	refresh   time.Duration

	refuseWritable bool
	poll           time.Duration
	logger         *slog.Logger
	told           *slog.Logger // as the caller gave it; nil is stderr
	onError        func(error)
	stuckAfter     time.Duration
	environ        func() []string
	noEvents       bool // as where the system has no file events
	errs           []string
}

// sourceSpec is a layer as the caller gave it.
type sourceSpec struct {
	kind     layerKind
	path     string // file, folder, prefix, source name
	fsys     fs.FS
	optional bool
	writable bool
	profile  func(environ []string) string
	dotEnv   string // the file of a DotEnv layer
	variable string // that the profile is read from
	base     int    // a profile's file: index of the source it goes over
	flags    *flag.FlagSet
	provider Provider
	parser   Parser
}

// File adds the settings file at path. Its name's ending gives the syntax:
// .yaml or .yml, .json, .jsonc (JSON with comments and trailing commas), .toml.
func File(path string, opts ...FileOption) Option {
	return func(o *options) {
		s := sourceSpec{kind: layerFile, path: path}
		for _, opt := range opts {
			opt(&s)
		}

		switch {
		case path == "":
			o.errs = append(o.errs, "File: the path is empty")
		case formatOf(path) == doc.Unknown:
			o.errs = append(o.errs, fmt.Sprintf("File %s: unknown file type; use .yaml, .yml, .json, .jsonc or .toml", path))
		case s.writable && s.fsys != nil:
			o.errs = append(o.errs, fmt.Sprintf("File %s: a file of an fs.FS is not writable", path))
		}

		if s.writable {
			for _, other := range o.sources {
				if other.writable {
					o.errs = append(o.errs, fmt.Sprintf("File %s: a second writable file after %s; one file takes the changes", path, other.path))
				}
			}
		}

		o.sources = append(o.sources, s)
	}
}

// Optional lets the file be missing. It may appear later; [Store.Run] picks it
// up.
func Optional() FileOption { return func(s *sourceSpec) { s.optional = true } }

// Writable makes the file the one that [Store.Set] and [Store.Update] change.
// At most one file is writable. It is replaced as a whole: its mode stays, its
// owner as far as the process may give files away, and on Linux its access control
// list and extended attributes, or the change fails; another hard link to it keeps
// the old content.
func Writable() FileOption { return func(s *sourceSpec) { s.writable = true } }

// In reads the file from fsys, such as an embed.FS with the settings that a
// program ships with, in place of the machine's own files.
func In(fsys fs.FS) FileOption { return func(s *sourceSpec) { s.fsys = fsys } }

// Profile adds, for the last [File] before it, the file with the profile in
// its name: Profile("prod") over config.yaml is config.prod.yaml beside it.
// Several profiles are separated by commas; the last wins. A profile whose
// file is missing is a problem. An empty name adds nothing.
func Profile(name string) Option {
	return func(o *options) { o.addProfile(func([]string) string { return name }, "") }
}

// ProfileFromEnv is [Profile] with the name from an environment variable, such
// as APP_PROFILE. Unset or empty adds nothing.
func ProfileFromEnv(variable string) Option {
	return func(o *options) {
		o.addProfile(func(environ []string) string {
			v, _ := lookupEnv(environ, variable)
			return v
		}, variable)
	}
}

func (o *options) addProfile(name func([]string) string, variable string) {
	for i := len(o.sources) - 1; i >= 0; i-- {
		if o.sources[i].kind == layerFile {
			o.sources = append(o.sources, sourceSpec{kind: layerProfile, profile: name, variable: variable, base: i})
			return
		}
	}
	o.errs = append(o.errs, "Profile: there is no File before it that it could go over")
}

// SecretsDir adds a folder with one file per key, as Docker and Kubernetes
// mount secrets. The file of key mail.password is called mail.password,
// mail_password or mail-password, in upper or lower case; its text without
// the final line break is the value. Hidden files and folders are skipped, a
// missing folder sets nothing. Files that are near no key are left alone.
func SecretsDir(dir string) Option {
	return func(o *options) {
		if dir == "" {
			o.errs = append(o.errs, "SecretsDir: the path is empty")
		}
		o.sources = append(o.sources, sourceSpec{kind: layerSecrets, path: dir})
	}
}

// Env adds environment variables: key scrape.rotate_every is
// PREFIX_SCRAPE_ROTATE_EVERY. With _FILE after the name, the variable names a
// file that holds the value. Lists are separated by commas or written as JSON
// and replace the list of lower layers; maps are JSON and merge, null removes a
// key. Variables that begin with the prefix and are no key are problems, apart
// from the service links that Kubernetes sets. An empty prefix reads variables
// named by the keys alone, and then foreign ones are not noticed.
func Env(prefix string) Option {
	return func(o *options) {
		prefix = strings.TrimSuffix(prefix, "_")
		if envName(prefix) != prefix {
			o.errs = append(o.errs, fmt.Sprintf("Env %q: a prefix is upper-case letters, digits and underscores, such as %q", prefix, envName(prefix)))
		}
		o.sources = append(o.sources, sourceSpec{kind: layerEnv, path: prefix})
	}
}

// Flags adds the flags of a parsed FlagSet that were set on the command line
// and are named like a key: scrape.rotate_every is -scrape.rotate-every. All
// other flags are left alone. [DefineFlags] defines a flag for each key.
func Flags(fs *flag.FlagSet) Option {
	return func(o *options) {
		if fs == nil {
			panic("config: Flags: nil FlagSet")
		}
		o.sources = append(o.sources, sourceSpec{kind: layerFlag, flags: fs})
	}
}

// Provider gives settings from somewhere else. It is what koanf calls a
// provider: koanf's fit as they are, and package config/koanf has more.
type Provider interface {
	// Read returns the settings as nested maps; a dot in a key nests.
	Read() (map[string]any, error)
	// ReadBytes returns a document for a [Parser].
	ReadBytes() ([]byte, error)
}

// Parser turns a document into nested maps. Koanf's parsers fit as they are.
type Parser interface {
	Unmarshal(document []byte) (map[string]any, error)
}

// Source adds any provider, such as one of koanf's, under a name for messages. With a parser,
// the provider's bytes are parsed; with a nil parser its map is taken. It is
// read again at each reload.
func Source(name string, provider Provider, parser Parser) Option {
	return func(o *options) {
		if provider == nil {
			panic("config: Source " + name + ": nil provider")
		}
		o.sources = append(o.sources, sourceSpec{kind: layerSource, path: name, provider: provider, parser: parser})
	}
}

// Resolve lets any string be a reference to a value held elsewhere:
// "ref+<scheme>://<path>#<key>" is what r returns for path and key. The schemes
// file and env are there from the start and may be replaced.
func Resolve(scheme string, r Resolver) Option {
	return func(o *options) {
		if r == nil {
			panic("config: Resolve " + scheme + ": nil resolver")
		}
		if !validScheme(scheme) {
			o.errs = append(o.errs, fmt.Sprintf("Resolve %q: a scheme is lower-case letters, digits, + and -", scheme))
		}
		o.resolvers[scheme] = r
	}
}

// Lenient turns unknown keys and unknown variables from problems into
// warnings, which are logged and kept in [Stats].
func Lenient() Option { return func(o *options) { o.lenient = true } }

// EmptyUnset makes a variable that is set to nothing, as compose files write for
// ${HOST} without a value, count as not set at all. Without it, empty text is a
// value. It holds for variables of [Env] and [DotEnv] alone: an empty text in a
// file, flag or secret file stays a value.
func EmptyUnset() Option { return func(o *options) { o.emptyless = true } }

// RefreshEvery sets how often [Store.Run] asks again for references whose
// resolver gave no lease, such as those to Vault's KV store, so that a secret
// which is changed there is seen, however long the resolver's own access lasts.
// Defaults to 5m; negative turns it off.
func RefreshEvery(every time.Duration) Option { return func(o *options) { o.refresh = every } }

// Poll sets how often [Store.Run] looks at the files by itself, besides being
// told by the operating system, and reads [Source] layers again. Defaults to
// 30s on Linux, to 5s where the system does not tell of folders that are
// replaced, and to 2s where it tells nothing; negative turns it off.
func Poll(every time.Duration) Option { return func(o *options) { o.poll = every } }

// Logger sets where reloads, warnings and failures are logged. Defaults to
// text lines on stderr of what [OnError] tells, and nothing else;
// slog.New(slog.DiscardHandler) turns these off.
func Logger(l *slog.Logger) Option { return func(o *options) { o.logger = l } }

// OnError sets a function that is told when the settings stay behind: a reload
// that keeps failing, as after a settings file was removed, or a reference that
// cannot be resolved again. It is called once when that has lasted for
// [StuckAfter], at once when a lease ends, and once when it is over. The error
// matches [ErrStuck] or [ErrLost] and says what to do; an end matches neither.
// Calls come one at a time, not before [Load] has returned, and may use the
// store. Defaults to none.
func OnError(fn func(error)) Option { return func(o *options) { o.onError = fn } }

// StuckAfter sets how long a failure that leaves the values in use valid may
// last before it is told, and how long all must be well before it is over.
// Defaults to 1m; negative tells it at once.
func StuckAfter(d time.Duration) Option { return func(o *options) { o.stuckAfter = d } }

func newOptions(opts []Option) (*options, error) {
	o := &options{resolvers: map[string]Resolver{}, environ: os.Environ}
	for _, opt := range opts {
		if opt != nil {
			opt(o)
		}
	}

	if o.refresh == 0 {
		o.refresh = defaultRefresh
	}

	o.told = o.logger
	if o.logger == nil {
		o.logger = slog.New(slog.DiscardHandler)
	}
	o.logger = o.logger.With("component", "config")

	if _, ok := o.resolvers["env"]; !ok {
		o.resolvers["env"] = envResolver{o.environ}
	}
	if _, ok := o.resolvers["file"]; !ok {
		o.resolvers["file"] = fileResolver{}
	}

	errs := make([]error, len(o.errs))
	for i, text := range o.errs {
		errs[i] = errors.New("config: load: " + text)
	}
	return o, errors.Join(errs...)
}

// envPrefix is the prefix of the last Env layer.
func (o *options) envPrefix() (prefix string) {
	for _, s := range o.sources {
		if s.kind == layerEnv && s.dotEnv == "" {
			prefix = s.path
		}
	}
	return prefix
}

func lookupEnv(environ []string, variable string) (string, bool) {
	for i := len(environ) - 1; i >= 0; i-- {
		if name, value, ok := strings.Cut(environ[i], "="); ok && name == variable {
			return value, true
		}
	}
	return "", false
}
