package deploy_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/svcblocks/svcblocks/config"
	"github.com/svcblocks/svcblocks/examples/shopwatch/internal/settings"
	"github.com/svcblocks/svcblocks/internal/testenv"
)

// manifests are the objects of ../k8s, decoded strictly.
type manifests struct {
	configMaps  map[string]core.ConfigMap
	secrets     map[string]core.Secret
	claims      map[string]core.PersistentVolumeClaim
	services    map[string]core.Service
	deployments map[string]apps.Deployment
	policies    map[string]networking.NetworkPolicy
}

// take decodes an object into the map of its kind.
func take[T any](m map[string]T, name string, text []byte) error {
	var object T
	if err := yaml.UnmarshalStrict(text, &object); err != nil {
		return err
	}
	if _, twice := m[name]; twice || name == "" {
		return fmt.Errorf("the name %q stands twice, or is empty", name)
	}
	m[name] = object
	return nil
}

func decode(text []byte) (*manifests, error) {
	m := &manifests{
		map[string]core.ConfigMap{},
		map[string]core.Secret{},
		map[string]core.PersistentVolumeClaim{},
		map[string]core.Service{},
		map[string]apps.Deployment{},
		map[string]networking.NetworkPolicy{},
	}
	for i, object := range bytes.Split(text, []byte("\n---\n")) {
		var head struct {
			APIVersion, Kind string
			Metadata         struct{ Name string }
		}
		if err := yaml.Unmarshal(object, &head); err != nil {
			return nil, fmt.Errorf("object %d: %w", i+1, err)
		}
		var err error
		switch name := head.Metadata.Name; head.APIVersion + " " + head.Kind {
		case "v1 ConfigMap":
			err = take(m.configMaps, name, object)
		case "v1 Secret":
			err = take(m.secrets, name, object)
		case "v1 PersistentVolumeClaim":
			err = take(m.claims, name, object)
		case "v1 Service":
			err = take(m.services, name, object)
		case "apps/v1 Deployment":
			err = take(m.deployments, name, object)
		case "networking.k8s.io/v1 NetworkPolicy":
			err = take(m.policies, name, object)
		default:
			err = errors.New("of a kind that is not expected")
		}
		if err != nil {
			return nil, fmt.Errorf("object %d, %s %s: %w", i+1, head.Kind, head.Metadata.Name, err)
		}
	}
	return m, nil
}

func load(t *testing.T) *manifests {
	t.Helper()
	files, err := filepath.Glob("../k8s/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("manifests: %v, %v", files, err)
	}
	var all [][]byte
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := decode(text); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		all = append(all, bytes.TrimSpace(text))
	}
	m, err := decode(bytes.Join(all, []byte("\n---\n")))
	if err != nil {
		t.Fatal(err)
	}
	for name, s := range m.secrets {
		for key, value := range s.StringData {
			if value != "" {
				t.Errorf("the Secret %s ships a %s that everybody knows", name, key)
			}
		}
	}
	return m
}

// TestKubernetesDecodesStrictly also sees a misspelt field refused.
func TestKubernetesDecodesStrictly(t *testing.T) {
	t.Parallel()
	m := load(t)
	if len(m.deployments) != 2 || len(m.policies) != 2 || len(m.services) != 2 {
		t.Errorf("%d deployments, %d policies, %d services", len(m.deployments), len(m.policies), len(m.services))
	}
	text, err := os.ReadFile("../k8s/service.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, wrong := range []string{"replica: 1", "replicas: one"} {
		if _, err := decode(bytes.Replace(text, []byte("replicas: 1"), []byte(wrong), 1)); err == nil {
			t.Errorf("%s was taken", wrong)
		}
	}
}

// TestKubernetesFitsTogether follows the names from object to object.
func TestKubernetesFitsTogether(t *testing.T) {
	t.Parallel()
	m := load(t)
	for name, d := range m.deployments {
		template := d.Spec.Template
		for key, value := range d.Spec.Selector.MatchLabels {
			if template.Labels[key] != value {
				t.Errorf("%s does not select its own pods", name)
			}
		}
		service := m.services[name]
		for key, value := range service.Spec.Selector {
			if template.Labels[key] != value {
				t.Errorf("the service %s does not select the pods", name)
			}
		}
		c := template.Spec.Containers[0]
		for _, port := range service.Spec.Ports {
			if !slices.ContainsFunc(c.Ports, func(p core.ContainerPort) bool { return p.Name == port.TargetPort.String() }) {
				t.Errorf("the service %s leads to port %s, which there is none", name, port.TargetPort.String())
			}
		}
		var volumes []string
		for _, v := range template.Spec.Volumes {
			volumes = append(volumes, v.Name)
			if v.ConfigMap != nil && m.configMaps[v.ConfigMap.Name].Data == nil {
				t.Errorf("%s: there is no ConfigMap %s", name, v.ConfigMap.Name)
			}
			if v.Secret != nil && m.secrets[v.Secret.SecretName].StringData == nil {
				t.Errorf("%s: there is no Secret %s", name, v.Secret.SecretName)
			}
			if v.PersistentVolumeClaim != nil && m.claims[v.PersistentVolumeClaim.ClaimName].Name == "" {
				t.Errorf("%s: there is no claim %s", name, v.PersistentVolumeClaim.ClaimName)
			}
		}
		for _, mount := range c.VolumeMounts {
			if !slices.Contains(volumes, mount.Name) {
				t.Errorf("%s: there is no volume %s", name, mount.Name)
			}
			if mount.SubPath != "" {
				t.Errorf("%s: %s is mounted by subPath, which does not follow changes", name, mount.Name)
			}
		}
	}
}

func TestKubernetesIsSafe(t *testing.T) {
	t.Parallel()
	for name, d := range load(t).deployments {
		pod := d.Spec.Template.Spec
		c := pod.Containers[0]
		s := c.SecurityContext
		if pod.SecurityContext.RunAsNonRoot == nil || !*pod.SecurityContext.RunAsNonRoot || *pod.SecurityContext.RunAsUser != 65532 ||
			pod.SecurityContext.SeccompProfile.Type != core.SeccompProfileTypeRuntimeDefault {
			t.Errorf("%s: pod %+v", name, pod.SecurityContext)
		}
		if s == nil || s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s: container %+v", name, s)
		}
		if diff := cmp.Diff([]core.Capability{"ALL"}, s.Capabilities.Drop); diff != "" || len(s.Capabilities.Add) != 0 {
			t.Errorf("%s: capabilities (-want +got):\n%s", name, diff)
		}
		if *pod.AutomountServiceAccountToken || c.LivenessProbe == nil || c.ReadinessProbe == nil || c.Resources.Limits.Memory().IsZero() {
			t.Errorf("%s: token, probes or limits", name)
		}
	}
}

// TestKubernetesNetwork reads the policy as the network would: the service
// reaches Tor, and no address outside the cluster.
func TestKubernetesNetwork(t *testing.T) {
	t.Parallel()
	m := load(t)
	policy := m.policies["service"].Spec
	if !slices.Contains(policy.PolicyTypes, networking.PolicyTypeEgress) {
		t.Fatal("egress is open")
	}
	for key, value := range policy.PodSelector.MatchLabels {
		if m.deployments["service"].Spec.Template.Labels[key] != value {
			t.Error("the policy is not for the service")
		}
	}
	tor := 0
	for _, rule := range policy.Egress {
		if len(rule.To) == 0 {
			t.Error("a rule leads everywhere")
		}
		for _, peer := range rule.To {
			if peer.IPBlock != nil || peer.PodSelector == nil || len(peer.PodSelector.MatchLabels) == 0 {
				t.Errorf("a rule leads out of the cluster, or to every pod: %+v", peer)
				continue
			}
			if peer.NamespaceSelector == nil && cmp.Equal(peer.PodSelector.MatchLabels, m.deployments["tor"].Spec.Selector.MatchLabels) {
				for _, port := range rule.Ports {
					tor += port.Port.IntValue()
				}
			}
		}
	}
	if tor != 9050+9051 {
		t.Error("the service does not reach Tor's two ports")
	}
	for _, peer := range m.policies["tor"].Spec.Ingress[0].From {
		if !cmp.Equal(peer.PodSelector.MatchLabels, m.deployments["service"].Spec.Selector.MatchLabels) {
			t.Errorf("Tor is reached by %v", peer.PodSelector.MatchLabels)
		}
	}
}

// mount lays files out as the kubelet does: in a folder of their own, that the
// link ..data names; a change is a new folder and a link that is renamed over.
func mount(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	version, err := os.MkdirTemp(dir, "..2026_")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(version, name), []byte(text), 0o440); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !errors.Is(err, os.ErrExist) {
			t.Fatal(err)
		}
	}
	old, _ := os.Readlink(filepath.Join(dir, "..data"))
	next := filepath.Join(dir, "..data_tmp")
	if err := errors.Join(os.Symlink(filepath.Base(version), next), os.Rename(next, filepath.Join(dir, "..data"))); err != nil {
		t.Fatal(err)
	}
	if old != "" {
		if err := os.RemoveAll(filepath.Join(dir, old)); err != nil {
			t.Fatal(err)
		}
	}
}

// volume returns the files that a volume of the service's pod holds.
func (m *manifests) volume(t *testing.T, name string) map[string]string {
	t.Helper()
	files := map[string]string{}
	for _, v := range m.deployments["service"].Spec.Template.Spec.Volumes {
		switch {
		case v.Name != name:
		case v.ConfigMap != nil:
			maps.Copy(files, m.configMaps[v.ConfigMap.Name].Data)
		case v.Projected != nil:
			for _, source := range v.Projected.Sources {
				maps.Copy(files, m.secrets[source.Secret.Name].StringData)
			}
		}
	}
	if len(files) == 0 {
		t.Fatalf("volume %s is empty", name)
	}
	return files
}

// TestKubernetesMountsAreFollowed lays out what the Deployment mounts, where it
// mounts it, loads it as the container's arguments say, and swaps both mounts.
func TestKubernetesMountsAreFollowed(t *testing.T) {
	t.Parallel()
	m := load(t)
	c := m.deployments["service"].Spec.Template.Spec.Containers[0]
	root := t.TempDir()
	at := map[string]string{}
	for _, vm := range c.VolumeMounts {
		at[vm.Name] = filepath.Join(root, vm.MountPath)
	}
	files, secrets := m.volume(t, "settings"), m.volume(t, "secrets")
	secrets["mail_password"] = "first"
	mount(t, at["settings"], files)
	mount(t, at["secrets"], secrets)

	flags, options := settings.Flags()
	if err := flags.Parse(c.Args); err != nil {
		t.Fatal(err)
	}
	// The layers of the service, below root.
	store, err := config.Load(t.Context(), settings.Defaults(),
		config.File(filepath.Join(root, options.Config)), config.Profile(options.Profile),
		config.SecretsDir(filepath.Join(root, "/run/secrets")))
	if err != nil {
		t.Fatal(err)
	}
	got := store.Get()
	if got.Tor.Password.Reveal() != secrets["tor_password"] || got.Mail.Password.Reveal() != "first" || got.Scrape.Fallback.String() != "never" ||
		got.Site.Every != 15*time.Minute || !strings.HasSuffix(got.Listen, fmt.Sprint(":", c.Ports[0].ContainerPort)) {
		t.Fatalf("settings of the mounts: %+v", got)
	}
	for _, vm := range c.VolumeMounts {
		if vm.Name == "data" && (!strings.HasPrefix(got.DataDir+"/", vm.MountPath+"/") || !strings.HasPrefix(got.Log.File.Path, vm.MountPath+"/")) {
			t.Errorf("data goes to %s and %s, the volume is %s", got.DataDir, got.Log.File.Path, vm.MountPath)
		}
	}
	if grace := *m.deployments["service"].Spec.Template.Spec.TerminationGracePeriodSeconds; time.Duration(grace)*time.Second <= got.ShutdownTimeout+time.Second {
		t.Errorf("a grace period of %d s for a stop that may take %v and one more", grace, got.ShutdownTimeout)
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- store.Run(ctx) }()
	for i := range 5 {
		every := time.Duration(i+1) * time.Hour
		files["config.yaml"] = strings.Replace(m.configMaps["service"].Data["config.yaml"], "every: 15m", "every: "+every.String(), 1)
		secrets["mail_password"] = fmt.Sprint("rotated ", i)
		mount(t, at["settings"], files)
		mount(t, at["secrets"], secrets)
		testenv.Eventually(t, func() error {
			if got := store.Get(); got.Site.Every != every || got.Mail.Password.Reveal() != secrets["mail_password"] {
				return fmt.Errorf("site.every is %v, want %v; status %v", got.Site.Every, every, store.Stats().Err)
			}
			return nil
		})
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
