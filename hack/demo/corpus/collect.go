package corpus

import (
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/printer"
	"go/token"
	"io/fs"
	"path"
	"strings"
)

// Limits on a declaration and a sentence, in bytes: a small model reads and writes short lines.
const (
	maxPrompt   = 160
	maxSentence = 160
	minSentence = 8
)

// commentMark stands between a declaration and its comment.
const commentMark = "\n//"

// Declaration is a function, method or type with the first sentence of its comment.
type Declaration struct {
	// Package is its import path, as "bytes".
	Package string
	// Prompt is the declaration on one line, without its body, and the mark of a comment:
	// "func (b *Buffer) Len() int\n//".
	Prompt string
	// Sentence is the first sentence of the comment, without the mark and on one line.
	Sentence string
}

// Collect finds the declarations of a source tree (GOROOT/src), in the order of their files.
// Tests, test data, vendored and generated files are left out; commands and internal packages are
// not. A prompt occurs once: most that occur twice are one declaration written for several
// operating systems.
func Collect(source fs.FS) ([]Declaration, error) {
	var found []Declaration
	seen := map[string]bool{}
	err := fs.WalkDir(source, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir():
			return skipFolder(entry.Name())
		case !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		declarations, err := ofFile(source, name)
		if err != nil {
			return err
		}
		for _, d := range declarations {
			if !seen[d.Prompt] {
				seen[d.Prompt] = true
				found = append(found, d)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("collect declarations: %w", err)
	}
	return found, nil
}

func skipFolder(name string) error {
	switch {
	case name == "testdata", name == "vendor", name != "." && strings.HasPrefix(name, "."), strings.HasPrefix(name, "_"):
		return fs.SkipDir
	}
	return nil
}

func ofFile(source fs.FS, name string) ([]Declaration, error) {
	text, err := fs.ReadFile(source, name)
	if err != nil {
		return nil, err
	}
	files := token.NewFileSet()
	file, err := parser.ParseFile(files, name, text, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	if ast.IsGenerated(file) {
		return nil, nil
	}
	var found []Declaration
	add := func(comment *ast.CommentGroup, signature string) {
		sentence := firstSentence(comment)
		if signature == "" || len(sentence) < minSentence || len(sentence) > maxSentence {
			return
		}
		found = append(found, Declaration{Package: path.Dir(name), Prompt: signature + commentMark, Sentence: sentence})
	}
	for _, decl := range file.Decls {
		switch d := decl.(type) {
		case *ast.FuncDecl:
			add(d.Doc, functionSignature(files, d))
		case *ast.GenDecl:
			if d.Tok != token.TYPE {
				continue
			}
			for _, spec := range d.Specs {
				t := spec.(*ast.TypeSpec)
				comment := t.Doc
				if comment == nil && !d.Lparen.IsValid() {
					comment = d.Doc
				}
				add(comment, typeSignature(files, t))
			}
		}
	}
	return found, nil
}

// firstSentence is what go doc lists beside a name; empty when there is no prose.
func firstSentence(comment *ast.CommentGroup) string {
	if comment == nil {
		return ""
	}
	return new(doc.Package).Synopsis(comment.Text())
}

func functionSignature(files *token.FileSet, d *ast.FuncDecl) string {
	if d.Name.Name == "_" {
		return ""
	}
	return oneLine(files, &ast.FuncDecl{Recv: d.Recv, Name: d.Name, Type: d.Type})
}

// typeSignature drops fields and methods: "type Buffer struct".
func typeSignature(files *token.FileSet, t *ast.TypeSpec) string {
	short := &ast.TypeSpec{Name: t.Name, TypeParams: t.TypeParams, Assign: t.Assign, Type: t.Type}
	switch t.Type.(type) {
	case *ast.StructType:
		short.Type = ast.NewIdent("struct")
	case *ast.InterfaceType:
		short.Type = ast.NewIdent("interface")
	}
	return oneLine(files, &ast.GenDecl{Tok: token.TYPE, Specs: []ast.Spec{short}})
}

// oneLine prints a declaration on one line, cut to maxPrompt bytes.
func oneLine(files *token.FileSet, node ast.Node) string {
	var b strings.Builder
	if err := printer.Fprint(&b, files, node); err != nil {
		return ""
	}
	line := strings.Join(strings.Fields(b.String()), " ")
	line = strings.NewReplacer("( ", "(", ", )", ")").Replace(line) // of parameters on lines of their own
	if len(line) > maxPrompt {
		line = strings.ToValidUTF8(line[:maxPrompt], "") + "..."
	}
	return line
}
