//! Edits of syntax nodes: each is described by its effect on the marked code rather than by the
//! code's text, so that it survives renames and formatting.

use std::ops::Range;

use anyhow::{Context, Result, ensure};
use proc_macro2::TokenStream;
use serde::Deserialize;
use syn::spanned::Spanned;
use syn::visit::{self, Visit};
use syn::{Arm, BinOp, Block, Expr, Pat, Stmt, Token};

/// The operation on the selected code. In the texts, `$it` stands for that code and `$args` for the
/// arguments of the first call or macro in it.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Edit {
    /// Deletes this many statements, or the operand, match arm or method call.
    Delete(usize),
    Replace(String),
    Before(String),
    /// Replaces the first text, which occurs exactly once, by the second.
    Swap(String, String),
}

/// A part of the marked code.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum At {
    /// The condition of the first `if` or `while`, or the guard of the arm.
    Condition,
    /// The expression that the first `for` iterates over.
    Iterator,
    /// The initializer of a `let`, the right side of an assignment, or the body of an arm.
    Value,
    /// The pattern of an arm.
    Pattern,
    /// An operand, counted from 1, of the first chain of `&&`, of `||`, or of the alternatives
    /// of a pattern.
    Operand(usize),
}

/// The marked code: the outermost node that begins at an offset.
enum Node<'a> {
    /// The marked statement and the following ones of its block.
    Stmts(&'a [Stmt]),
    Arm(&'a Arm),
    /// A binary operator with its right operand, or a method call from its dot on.
    Suffix(Range<usize>),
}

/// Applies an edit to the code that begins at the offset. Returns the range of the innermost
/// function body around that code, and its edited text.
pub(super) fn apply(
    source: &str,
    offset: usize,
    at: Option<At>,
    edit: &Edit,
) -> Result<(Range<usize>, String)> {
    let file = syn::parse_file(source).context("it does not parse")?;
    let mut finder = Finder { offset, found: None, body: None };
    finder.visit_file(&file);
    let node = finder.found.context("no statement, match arm or operand follows the marker")?;
    let body = finder.body.context("the marker is outside of functions")?;
    let count = if let Edit::Delete(count) = edit { *count } else { 1 };
    let range = match at {
        None => node.range(count)?,
        Some(At::Operand(index)) => {
            let chain = node.search().chain.context("the marked code has no chain of operands")?;
            ensure!((1..=chain.len()).contains(&index), "the chain has {} operands", chain.len());
            match edit {
                // One of the adjacent operators is removed as well.
                Edit::Delete(_) if index == 1 => chain[0].start..chain[1].start,
                Edit::Delete(_) => chain[index - 2].end..chain[index - 1].end,
                _ => chain[index - 1].clone(),
            }
        }
        Some(part) => {
            node.part(part).with_context(|| format!("the marked code has no {part:?}"))?
        }
    };
    let it = &source[range.clone()];
    let fill = |text: &str| -> Result<String> {
        let text = text.replace("$it", it);
        if !text.contains("$args") {
            return Ok(text);
        }
        let args = node.search().args.context("the marked code has no call")?;
        Ok(text.replace("$args", &source[args]))
    };
    let edited = match edit {
        Edit::Delete(_) => String::new(),
        Edit::Replace(text) => fill(text)?,
        Edit::Before(text) => format!("{} {it}", fill(text)?),
        Edit::Swap(old, new) => {
            let count = it.matches(old).count();
            ensure!(count == 1, "`{old}` occurs {count} times");
            it.replace(old, new)
        }
    };
    let (before, after) = (&source[body.start..range.start], &source[range.end..body.end]);
    Ok((body, format!("{before}{edited}{after}")))
}

impl<'a> Node<'a> {
    /// The range of the node, or of this many statements.
    fn range(&self, count: usize) -> Result<Range<usize>> {
        Ok(match self {
            Node::Stmts(stmts) => {
                ensure!((1..=stmts.len()).contains(&count), "{} statements follow", stmts.len());
                range(&stmts[0]).start..range(&stmts[count - 1]).end
            }
            Node::Arm(arm) => range(*arm),
            Node::Suffix(range) => range.clone(),
        })
    }

    fn part(&self, part: At) -> Option<Range<usize>> {
        match (part, self) {
            (At::Value, Node::Arm(arm)) => Some(range(&arm.body)),
            (At::Value, Node::Stmts([Stmt::Local(local), ..])) => {
                Some(range(&local.init.as_ref()?.expr))
            }
            (At::Value, Node::Stmts([Stmt::Expr(Expr::Assign(assign), _), ..])) => {
                Some(range(&assign.right))
            }
            (At::Pattern, Node::Arm(arm)) => Some(range(&arm.pat)),
            (At::Condition, Node::Arm(arm)) => Some(range(&arm.guard.as_ref()?.1)),
            (At::Condition, _) => self.search().condition,
            (At::Iterator, _) => self.search().iterator,
            _ => None,
        }
    }

    fn search(&self) -> Search {
        let mut search = Search::default();
        match self {
            Node::Stmts([first, ..]) => search.visit_stmt(first),
            Node::Arm(arm) => search.visit_arm(arm),
            Node::Stmts([]) | Node::Suffix(_) => {}
        }
        search
    }
}

fn range(node: &impl Spanned) -> Range<usize> {
    node.span().byte_range()
}

/// Finds the node that begins at an offset, and the body of the innermost function around it.
struct Finder<'a> {
    offset: usize,
    found: Option<Node<'a>>,
    body: Option<Range<usize>>,
}

impl<'a> Finder<'a> {
    fn offer(&mut self, start: usize, node: impl FnOnce() -> Node<'a>) {
        if start == self.offset {
            self.found.get_or_insert_with(node);
        }
    }

    /// Inner functions are visited after the outer ones.
    fn offer_body(&mut self, block: &Block) {
        if range(block).contains(&self.offset) {
            self.body = Some(range(block));
        }
    }
}

impl<'a> Visit<'a> for Finder<'a> {
    fn visit_item_fn(&mut self, function: &'a syn::ItemFn) {
        self.offer_body(&function.block);
        visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'a syn::ImplItemFn) {
        self.offer_body(&function.block);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_block(&mut self, block: &'a Block) {
        for (index, stmt) in block.stmts.iter().enumerate() {
            self.offer(range(stmt).start, || Node::Stmts(&block.stmts[index..]));
        }
        visit::visit_block(self, block);
    }

    fn visit_arm(&mut self, arm: &'a Arm) {
        self.offer(range(arm).start, || Node::Arm(arm));
        visit::visit_arm(self, arm);
    }

    fn visit_expr_binary(&mut self, binary: &'a syn::ExprBinary) {
        let start = range(&binary.op).start;
        self.offer(start, || Node::Suffix(start..range(&binary.right).end));
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_method_call(&mut self, call: &'a syn::ExprMethodCall) {
        let start = range(&call.dot_token).start;
        self.offer(start, || Node::Suffix(start..range(call).end));
        visit::visit_expr_method_call(self, call);
    }
}

/// The first parts of a node that an edit may select, outermost first.
#[derive(Default)]
struct Search {
    condition: Option<Range<usize>>,
    iterator: Option<Range<usize>>,
    args: Option<Range<usize>>,
    chain: Option<Vec<Range<usize>>>,
}

impl<'a> Visit<'a> for Search {
    fn visit_expr_if(&mut self, node: &'a syn::ExprIf) {
        self.condition.get_or_insert_with(|| range(&node.cond));
        visit::visit_expr_if(self, node);
    }

    fn visit_expr_while(&mut self, node: &'a syn::ExprWhile) {
        self.condition.get_or_insert_with(|| range(&node.cond));
        visit::visit_expr_while(self, node);
    }

    fn visit_expr_for_loop(&mut self, node: &'a syn::ExprForLoop) {
        self.iterator.get_or_insert_with(|| range(&node.expr));
        visit::visit_expr_for_loop(self, node);
    }

    fn visit_expr_call(&mut self, node: &'a syn::ExprCall) {
        self.args.get_or_insert_with(|| range(&node.args));
        visit::visit_expr_call(self, node);
    }

    fn visit_expr_method_call(&mut self, node: &'a syn::ExprMethodCall) {
        self.args.get_or_insert_with(|| range(&node.args));
        visit::visit_expr_method_call(self, node);
    }

    fn visit_macro(&mut self, node: &'a syn::Macro) {
        self.args.get_or_insert_with(|| range(&node.tokens));
        // The pattern of `matches!` is code, too.
        let pattern = |input: syn::parse::ParseStream<'_>| {
            input.parse::<Expr>()?;
            input.parse::<Token![,]>()?;
            let pattern = Pat::parse_multi_with_leading_vert(input)?;
            input.parse::<TokenStream>()?;
            Ok(pattern)
        };
        if let Ok(Pat::Or(or)) = node.parse_body_with(pattern) {
            self.visit_pat_or(&or);
        }
    }

    fn visit_expr_binary(&mut self, node: &'a syn::ExprBinary) {
        if matches!(node.op, BinOp::And(_) | BinOp::Or(_)) {
            self.chain.get_or_insert_with(|| operands(node));
        }
        visit::visit_expr_binary(self, node);
    }

    fn visit_pat_or(&mut self, node: &syn::PatOr) {
        self.chain.get_or_insert_with(|| node.cases.iter().map(range).collect());
    }
}

/// The operands of `a && b && c`, which nests to the left.
fn operands(chain: &syn::ExprBinary) -> Vec<Range<usize>> {
    let is_same = |op: &BinOp| std::mem::discriminant(op) == std::mem::discriminant(&chain.op);
    let mut operands = match &*chain.left {
        Expr::Binary(left) if is_same(&left.op) => self::operands(left),
        left => vec![range(left)],
    };
    operands.push(range(&chain.right));
    operands
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "fn f() {
        let x = a.b(1, c).d();
        if x && !(y || z) && w {
            ready!(g(x));
        }
        for i in 0..=9 {}
        match x {
            A | B if p => q = 3,
            _ => matches!(x, C | D | E),
        }
    }";

    /// Edits the code that begins with `from`, which replaces `old` by `new`.
    fn check(from: &str, at: Option<At>, edit: Edit, old: &str, new: &str) {
        let offset = SOURCE.find(from).expect("the code is in the source");
        let (body, edited) = apply(SOURCE, offset, at, &edit).expect("the edit applies");
        assert_eq!(SOURCE.matches(old).count(), 1, "{old}");
        assert_eq!(edited, SOURCE[body].replace(old, new));
    }

    #[test]
    fn statements_arms_operands_and_calls_are_deleted() {
        check("ready!", None, Edit::Delete(1), "ready!(g(x));", "");
        check("A |", None, Edit::Delete(1), "A | B if p => q = 3,", "");
        check("&& !(y", None, Edit::Delete(1), "&& !(y || z)", "");
        check(".d()", None, Edit::Delete(1), ".d()", "");
        let offset = SOURCE.find("for").expect("a loop");
        assert!(apply(SOURCE, offset, None, &Edit::Delete(3)).is_err());
        assert!(apply(SOURCE, offset + 1, None, &Edit::Delete(1)).is_err());
    }

    #[test]
    fn operands_are_counted_along_the_outermost_chain() {
        check("if x", Some(At::Operand(1)), Edit::Delete(1), "x && !", "!");
        check("if x", Some(At::Operand(3)), Edit::Delete(1), " && w", "");
        check("_ =>", Some(At::Operand(2)), Edit::Delete(1), " | D", "");
        check(
            "if x",
            Some(At::Operand(3)),
            Edit::Replace("($it || v)".into()),
            "&& w",
            "&& (w || v)",
        );
    }

    #[test]
    fn parts_are_replaced() {
        let replace = |text: &str| Edit::Replace(text.into());
        check("if x", Some(At::Condition), replace("v"), "x && !(y || z) && w", "v");
        check("A |", Some(At::Condition), replace("v"), "if p", "if v");
        check("A |", Some(At::Pattern), replace("V"), "A | B", "V");
        check("for", Some(At::Iterator), replace("v"), "0..=9", "v");
        check("let x", Some(At::Value), replace("v"), "a.b(1, c).d()", "v");
        check("ready!", None, replace("let _ = $args;"), "ready!(g(x));", "let _ = g(x);");
        check("ready!", None, replace("$it v();"), "ready!(g(x));", "ready!(g(x)); v();");
    }

    #[test]
    fn texts_are_swapped_where_they_occur_once() {
        check("let x", None, Edit::Swap(".b".into(), ".v".into()), ".b", ".v");
        let offset = SOURCE.find("if x").expect("a condition");
        let swap = Edit::Swap("x".into(), "v".into());
        assert!(apply(SOURCE, offset, None, &swap).is_err(), "it occurs twice");
    }
}
