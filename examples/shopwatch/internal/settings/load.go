package settings

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/svcblocks/svcblocks/config"
)

const (
	// EnvPrefix begins the name of every variable that the service reads.
	EnvPrefix = "SVC"
	// fileName is where settings are looked for, here and in the binary.
	fileName = "config/config.yaml"
	// secretsDir is where Docker and Kubernetes put secrets.
	secretsDir = "/run/secrets"
)

// Options are the flags that are no settings.
type Options struct {
	Config      string // settings file; empty: the one in the binary
	Profile     string
	HealthCheck bool
	Version     bool
}

// Flags returns the service's flags: its own, and one per setting. Its Parse
// prints nothing: after a mistake, a list of all flags would hide what it is.
func Flags() (*flag.FlagSet, *Options) {
	fset := flag.NewFlagSet("service", flag.ContinueOnError)
	fset.SetOutput(io.Discard)
	o := new(Options)
	fset.StringVar(&o.Config, "config", "", "settings `file`; default: "+fileName+" if there is one here, else the one in the binary")
	fset.StringVar(&o.Profile, "profile", "", "`name` of the profile, dev or prod; default: "+EnvPrefix+"_PROFILE, else dev if there is its file")
	fset.BoolVar(&o.HealthCheck, "healthcheck", false, "ask a running service whether it is ready, and exit")
	fset.BoolVar(&o.Version, "version", false, "print the version, and exit")
	config.DefineFlags(fset, Defaults())
	return fset, o
}

// Layers returns where settings come from, the strongest last, and completes
// opts.
func Layers(flags *flag.FlagSet, opts *Options, shipped fs.FS) ([]config.Option, error) {
	const variable = EnvPrefix + "_PROFILE"
	if fromEnv := os.Getenv(variable); opts.Profile == "" {
		opts.Profile = fromEnv
	} else if fromEnv != "" {
		// The flag goes over the variable, which is no setting either.
		if err := os.Unsetenv(variable); err != nil {
			return nil, fmt.Errorf("settings: %w", err)
		}
	}

	from := []config.FileOption{config.Writable()}
	if opts.Config == "" {
		switch _, err := os.Stat(fileName); {
		case err == nil:
			opts.Config = fileName
		case errors.Is(err, fs.ErrNotExist):
			from = []config.FileOption{config.In(shipped)}
		default:
			return nil, fmt.Errorf("settings: %w (name the file with -config)", err)
		}
	}

	if opts.Profile == "" {
		// Somebody's own settings file need not have profiles.
		if dev := profileFile(opts.Config, "dev"); opts.Config == "" || exists(dev) {
			opts.Profile = "dev"
		}
	}

	profile := config.ProfileFromEnv(variable)
	if opts.Profile != os.Getenv(variable) {
		profile = config.Profile(opts.Profile)
	}

	resolve, err := vaultLayer(os.Getenv)
	if err != nil {
		return nil, err
	}

	return append(resolve, []config.Option{
		config.File(cmp.Or(opts.Config, fileName), from...),
		profile,
		config.SecretsDir(secretsDir),
		config.Env(EnvPrefix),
		config.Flags(flags),
		config.RefuseWritable(),
	}...), nil
}

// profileFile is where config.Profile looks for a profile of file.
func profileFile(file, profile string) string {
	ext := filepath.Ext(file)
	return strings.TrimSuffix(file, ext) + "." + profile + ext
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Load reads the settings. Every mistake is in the error at once.
func Load(ctx context.Context, flags *flag.FlagSet, opts *Options, shipped fs.FS) (*config.Store[Settings], error) {
	layers, err := Layers(flags, opts, shipped)
	if err != nil {
		return nil, err
	}
	return config.Load(ctx, Defaults(), layers...)
}
