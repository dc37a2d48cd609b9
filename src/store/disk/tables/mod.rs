//! One file for each table: its statements, their parameters and their columns.

pub(super) mod blocks;
pub(super) mod logs;
pub(super) mod owners;
pub(super) mod service;
